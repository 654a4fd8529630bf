"""A training job from creation to end, on the double and, with the marker `cluster`, on a real API server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from operator_part import wait_for
from pytorch_part import now
from training_place import CONFIG, Place

from components.train.client import ClusterClient
from components.train.submit import SPEC_DIGEST, submit
from oaml_core.errors import ClusterError

NAME = "night-0123456789abcdef"


def test_a_job_is_created_and_followed_to_its_success(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    training = place.train()
    job = place.operator.job()
    assert job["metadata"]["name"] == NAME
    assert place.operator.rendezvous_id(job) == NAME
    place.operator.start(job)
    wait_for(lambda: "2 of 2 pods run" in caplog.text)
    assert not training.is_over
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    assert f"created {place.operator.of.kind} {NAME} in namespace {place.namespace}" in caplog.text


def test_a_repeated_step_takes_up_the_job_that_is_under_way(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first = place.train()
    job = place.operator.job()
    place.operator.start(job)
    second = place.train()
    wait_for(lambda: "takes up" in caplog.text)
    place.operator.set_condition(job, "Succeeded")
    assert (first.wait(), second.wait()) == (None, None)
    assert [each["metadata"]["uid"] for each in place.operator.jobs()] == [job["metadata"]["uid"]]


def test_a_job_of_another_spec_is_left_alone(place: Place) -> None:
    place.train()
    job = place.operator.job()
    error = place.train(image="registry.example.com/oaml/train:2").wait()
    assert isinstance(error, ClusterError)
    assert "under way with another image" in str(error)
    assert f"delete {place.operator.of.plural} {NAME}" in str(error)
    assert place.operator.job()["metadata"]["annotations"][SPEC_DIGEST] == job["metadata"]["annotations"][SPEC_DIGEST]


def test_a_job_that_failed_is_replaced(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    first = place.train()
    job = place.operator.job()
    place.operator.set_condition(job, "Failed", message="no luck")
    assert isinstance(first.wait(), ClusterError)
    second = place.train()
    wait_for(lambda: "replaces" in caplog.text)
    again = wait_for(lambda: next((each for each in place.operator.jobs() if not _is(each, job)), None))
    place.operator.set_condition(again, "Succeeded")
    assert second.wait() is None
    assert "which has failed: no luck" in caplog.text


def test_a_worker_that_fails_is_named_with_the_operators_reason(place: Place) -> None:
    training = place.train()
    job = place.operator.job()
    _, worker = place.operator.start(job)
    place.operator.end_container(worker, 1)
    place.operator.set_condition(job, "Failed", message="1 worker replica(s) failed")
    error = str(training.wait())
    assert f"{place.operator.of.kind} {NAME} failed: 1 worker replica(s) failed" in error
    assert f"{worker} ended with exit code 1." in error
    assert "the same run goes on from the newest" in error


def test_the_failed_workers_last_lines_are_shown_and_credentials_are_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not place.serves_logs:
        pytest.skip("the API server is on another machine, and cannot ask this one for logs")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush-hush")
    training = place.train()
    job = place.operator.job()
    _, worker = place.operator.start(job)
    lines = [f"line {number}" for number in range(100)]
    place.operator.end_container(worker, 1, lines=(*lines, "signed with hush-hush-hush", "oaml: record 7 is broken"))
    place.operator.set_condition(job, "Failed")
    error = str(training.wait())
    assert f"Last lines of {worker}:" in error
    assert "oaml: record 7 is broken" in error
    assert "line 99" in error
    assert "line 10\n" not in error
    assert "hush" not in error


def test_the_main_workers_log_is_passed_on_once(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    if not place.serves_logs:
        pytest.skip("the API server is on another machine, and cannot ask this one for logs")
    training = place.train()
    job = place.operator.job()
    logs, container = place.operator.logs, place.operator.container
    logs.write(place.operator.pod_name(job, 0), container, "epoch 1")
    logs.write(place.operator.pod_name(job, 1), container, "a worker that nobody listens to")
    main, _ = place.operator.start(job)
    said = ""

    def heard(words: str) -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return words in said

    wait_for(lambda: heard("epoch 1\n"))
    logs.write(main, container, "epoch 2")
    wait_for(lambda: heard("epoch 2\n"))
    logs.break_off()
    logs.write(main, container, "epoch 3")
    wait_for(lambda: heard("epoch 3\n"))
    place.operator.end_container(main, 0, lines=("the last line",))
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    assert heard("the last line")
    assert said.splitlines() == ["epoch 1", "epoch 2", "epoch 3", "the last line"]


def test_a_worker_out_of_memory_is_reported_at_once_with_its_limit(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    training = place.train(memory="3Gi")
    job = place.operator.job()
    _, worker = place.operator.start(job)
    place.operator.end_container(worker, 137, "OOMKilled")
    wait_for(lambda: "ran out of memory" in caplog.text)
    assert not training.is_over
    place.operator.set_condition(job, "Failed")
    error = str(training.wait())
    assert f"{worker} ran out of memory: it was killed at its limit of 3Gi. Raise training.memory" in error


def test_training_survives_a_worker_that_is_evicted_and_comes_back(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    training = place.train()
    job = place.operator.job()
    _, worker = place.operator.start(job)
    ended = {"terminated": {"exitCode": 137, "reason": "Error", "startedAt": now(), "finishedAt": now()}}
    why = "The node was low on resource: ephemeral-storage."
    place.operator.set_container(worker, ended, phase="Failed", reason="Evicted", message=why)
    place.operator.set_condition(job, "Restarting", message="a worker is restarting")
    wait_for(lambda: "low on resource: ephemeral-storage" in caplog.text)
    place.operator.put_aside(worker)
    again = place.operator.create_pod(job, 1)
    place.operator.set_container(again, {"running": {}}, phase="Running")
    place.operator.set_condition(job, "Running")
    wait_for(lambda: caplog.text.count("2 of 2 pods run") >= 2)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    says_so = place.operator.backend == "pytorchjob"  # a TrainJob has no such state
    assert ("is restarting: a worker is restarting" in caplog.text) == says_so


def test_a_pod_that_makes_room_for_another_says_so(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    training = place.train()
    job = place.operator.job()
    _, worker = place.operator.start(job)
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": ""}
    place.operator.set_pod(worker, conditions=[condition])
    wait_for(lambda: "made room for a pod of higher priority" in caplog.text)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_an_image_that_cannot_be_pulled_cancels_the_job_after_a_while(place: Place) -> None:
    training = place.train(start_patience_seconds=1)
    job = place.operator.job()
    pod = place.operator.create_pod(job, 0)
    place.operator.set_container(pod, {"waiting": {"reason": "ErrImagePull", "message": "401 Unauthorized"}})
    error = str(training.wait())
    assert f"{pod} cannot pull the image registry.example.com/oaml/train:1: 401 Unauthorized." in error
    assert "image_pull_secrets" in error
    assert "The job is cancelled" in error
    assert place.operator.jobs() == []


def test_an_image_that_can_be_pulled_after_all_is_waited_for(place: Place) -> None:
    training = place.train(start_patience_seconds=30)
    job = place.operator.job()
    pod = place.operator.create_pod(job, 0)
    place.operator.set_container(pod, {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}})
    place.operator.set_container(pod, {"running": {}}, phase="Running")
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_a_missing_secret_is_named(place: Place) -> None:
    training = place.train(start_patience_seconds=0)
    pod = place.operator.create_pod(place.operator.job(), 0)
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "oaml-store" not found'}
    place.operator.set_container(pod, {"waiting": waiting})
    assert 'secret "oaml-store" not found. See secrets' in str(training.wait())


def test_an_image_name_that_is_none_is_not_waited_for(place: Place) -> None:
    training = place.train(start_patience_seconds=3600)
    pod = place.operator.create_pod(place.operator.job(), 0)
    waiting = {"reason": "InvalidImageName", "message": "couldn't parse image name"}
    place.operator.set_container(pod, {"waiting": waiting})
    assert "InvalidImageName: couldn't parse image name." in str(training.wait())


def test_a_pod_without_a_node_is_reported_and_waited_for(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    training = place.train(start_patience_seconds=0)
    job = place.operator.job()
    pod = place.operator.create_pod(job, 0)
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
    }
    place.operator.set_pod(pod, conditions=[condition])
    wait_for(lambda: "3 Insufficient nvidia.com/gpu. See training.gpus" in caplog.text)
    assert not training.is_over
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_a_job_that_somebody_deletes_ends_the_step(place: Place) -> None:
    training = place.train()
    job = place.operator.job()
    place.operator.start(job)
    place.operator.delete_job(job)
    assert "was deleted, by a person or a controller" in str(training.wait())


def test_a_suspended_job_waits_for_admission(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    training = place.train(suspend=True)
    job = place.operator.job()
    assert place.operator.is_suspended(job)
    place.operator.set_condition(job, "Suspended", message="waits in queue faces")
    wait_for(lambda: "is suspended: waits in queue faces" in caplog.text)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_a_store_that_pods_cannot_reach_is_refused_before_anything_is_created(place: Place) -> None:
    error = place.train(replace(CONFIG, store="runs")).wait()
    assert "share nothing but an s3:// store" in str(error)
    assert place.operator.jobs() == []


def _is(one: dict, other: dict) -> bool:
    return one["metadata"]["uid"] == other["metadata"]["uid"]


def test_a_job_deleted_before_it_is_first_looked_at_ends_the_step(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit_and_delete(client: ClusterClient, manifest: dict[str, Any]) -> dict[str, Any]:
        job = submit(client, manifest)
        client.delete(job["metadata"]["name"], job["metadata"]["uid"])
        wait_for(lambda: client.get(job["metadata"]["name"]) is None)
        return job

    monkeypatch.setattr("components.train.cluster_launcher.submit", submit_and_delete)
    assert "was deleted, by a person or a controller" in str(place.train().wait())
