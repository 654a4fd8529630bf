"""What stands in events alone is said in words, and workers that fail for ever are stopped."""

from __future__ import annotations

import pytest
from kubernetes_server.kube_server import KubeServer
from operator_part import wait_for
from training_place import Place

from components.train.job_events import meaning
from oaml_core.errors import ClusterError

pytestmark = pytest.mark.parametrize("place", ["double", "trainer"], indirect=True)
QUOTA = (
    'Error creating: pods "{}" is forbidden: exceeded quota: oaml, requested: requests.cpu=8, '
    "used: requests.cpu=60, limited: requests.cpu=64"
)
SECURITY = 'pods "night-worker-0" is forbidden: violates PodSecurity "restricted:latest": hostNetwork'
WEBHOOK = 'admission webhook "policy.example.com" denied the request: images must be signed'


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.train.job_events.LOOK_SECONDS", 0.1)


def refuse_pod(place: Place, job: dict, message: str) -> None:
    """The event of a pod that the API server has refused."""
    place.operator.warn(place.operator.pod_maker(job), place.operator.refuses, message)


def test_a_pod_that_the_quota_refuses_is_reported_once_and_waited_for(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    training = place.train(start_patience_seconds=0)
    job = place.operator.job()
    for number in range(3):
        refuse_pod(place, job, QUOTA.format(place.operator.pod_name(job, number)))
    wait_for(lambda: "the namespace's quota leaves no room for a pod" in caplog.text)
    assert "raise the ResourceQuota" in caplog.text
    assert not training.is_over
    place.operator.start(job)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    assert caplog.text.count("leaves no room") == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (SECURITY, "the namespace's pod security refuses the pod"),
        (WEBHOOK, "images must be signed. Its reason stands here"),
        (
            'pods is forbidden: error looking up service account faces/trainer: serviceaccount "trainer" not found',
            "set training.service_account",
        ),
        ("pods is forbidden: no PriorityClass with name oaml-training was found", "set training.priority_class"),
    ],
)
def test_a_refusal_that_does_not_mend_itself_cancels_the_job(place: Place, message: str, said: str) -> None:
    training = place.train(start_patience_seconds=0)
    refuse_pod(place, place.operator.job(), message)
    error = training.wait()
    assert said in str(error)
    assert "The job is cancelled" in str(error)
    assert place.operator.jobs() == []


def test_warnings_about_others_are_left_alone(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    training = place.train(start_patience_seconds=0)
    job = place.operator.job()
    refuse_pod(place, {"metadata": {"name": "another"}}, SECURITY)
    place.operator.warn(
        {"kind": "Pod", "name": place.operator.pod_name(job, 0)}, "FailedMount", 'configmap "oaml" not found'
    )
    wait_for(lambda: "a volume cannot be mounted" in caplog.text)
    assert "pod security" not in caplog.text
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_without_the_right_to_read_events_training_goes_on(
    place: Place, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    kube.forbidden.add(("list", "events"))
    training = place.train()
    wait_for(lambda: "events cannot be read" in caplog.text)
    place.operator.set_condition(place.operator.job(), "Succeeded")
    assert training.wait() is None


@pytest.mark.parametrize("reason", ["FailedScheduling", "Evicted", "Preempted", "OOMKilling", "Failed", "FailedMount"])
def test_every_warning_has_a_remedy(place: Place, reason: str) -> None:
    found = meaning({"reason": reason, "message": "because"})
    assert found is not None
    assert found.remedy.endswith(".")


def test_workers_that_fail_for_ever_are_stopped_by_the_launcher(place: Place) -> None:
    """The operator does not: with restartPolicy ExitCode it makes pods again without counting them; and the
    Job of our own runtime may do so a thousand times."""
    training = place.train(backoff_limit=2)
    job = place.operator.job()
    place.operator.set_condition(job, "Running")
    for failures in (1, 2, 3):
        pod = place.operator.create_pod(job, 0)
        place.operator.end_container(pod, 137, lines=("segmentation fault in a driver",))
        if failures > 2:
            break  # the launcher takes the job away at any moment now
        place.operator.set_condition(job, "Restarting")
        place.operator.put_aside(pod)
    error = training.wait()
    assert isinstance(error, ClusterError)
    assert "failed 3 times, more often than training.backoff_limit 2 allows" in str(error)
    assert "was killed (SIGKILL)" in str(error)
    assert place.operator.jobs() == []


def test_pods_that_make_room_for_others_are_not_failures(place: Place) -> None:
    training = place.train(backoff_limit=0)
    job = place.operator.job()
    pod = place.operator.create_pod(job, 0)
    taken = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": ""}
    place.operator.set_pod(pod, phase="Failed", conditions=[taken])
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_pods_that_are_deleted_while_they_run_are_not_failures(place: Place) -> None:
    """As where somebody, or an autoscaler, asks for fewer."""
    training = place.train(backoff_limit=0)
    job = place.operator.job()
    _, last = place.operator.start(job)
    place.operator.ask_to_end(last)
    place.operator.end_container(last, 143)
    place.operator.delete_pod(last)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
