"""API servers that are busy, forget, hang up or refuse: training goes on, or says what is wrong."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from kubernetes_server.kube_server import Fault, KubeServer
from operator_part import wait_for
from training_place import Place

from components.train import client, watch
from oaml_core.errors import ClusterError

pytestmark = pytest.mark.parametrize("place", ["double", "trainer"], indirect=True)


def test_a_busy_server_is_asked_again_when_it_says(place: Place, kube: KubeServer) -> None:
    kube.faults += [
        Fault("create", place.operator.of.plural, 429, retry_after="1"),
        Fault("list", "pods", 503, times=2),
    ]
    training = place.train()
    job = place.operator.job()
    wait_for(lambda: kube.calls["", "pods", "list"] == 3)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    assert kube.calls[place.operator.of.group, place.operator.of.plural, "create"] == 2


def test_a_creation_whose_answer_is_lost_makes_one_job(
    place: Place, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    kube.faults.append(Fault("create", place.operator.of.plural))
    training = place.train()
    wait_for(lambda: f"takes up {place.operator.of.kind}" in caplog.text)
    place.operator.set_condition(place.operator.job(), "Succeeded")
    assert training.wait() is None
    assert len(place.operator.jobs()) == 1


def test_watches_that_break_are_taken_up_where_they_broke(
    place: Place, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    training = place.train()
    job = place.operator.job()
    place.operator.start(job)
    wait_for(lambda: "2 of 2 pods run" in caplog.text)
    lists = kube.calls["", "pods", "list"], kube.calls[place.operator.of.group, place.operator.of.plural, "list"]
    for _ in range(3):
        kube.objects.break_watches()
    place.operator.set_condition(job, "Suspended", message="still there")
    wait_for(lambda: "still there" in caplog.text)
    kube.faults += [Fault("watch", place.operator.of.plural, 500, times=2), Fault("watch", "pods", times=2)]
    kube.objects.break_watches()
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    assert lists[0] == kube.calls["", "pods", "list"]
    assert caplog.text.count(f"created {place.operator.of.kind}") == 1


def test_what_was_missed_while_versions_were_forgotten_is_found_by_listing(
    place: Place, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    training = place.train()
    job = place.operator.job()
    _, worker = place.operator.start(job)
    wait_for(lambda: "2 of 2 pods run" in caplog.text)
    kube.faults += [Fault("watch", "pods", 503, times=1), Fault("watch", place.operator.of.plural, 503, times=1)]
    kube.objects.break_watches()
    place.operator.delete_pod(worker)
    kube.objects.break_watches(forget=True)
    wait_for(lambda: "1 of 1 pods run" in caplog.text)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_bookmarks_keep_a_quiet_watch_from_falling_behind(
    place: Place, kube: KubeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", 1)  # whole seconds are the smallest that the API knows
    training = place.train()
    job = place.operator.job()
    place.operator.start(job)  # the job changes last
    wait_for(lambda: f"{place.operator.of.kind} night-0123456789abcdef is running" in caplog.text)
    begun = kube.calls["", "pods", "watch"]
    wait_for(lambda: kube.calls["", "pods", "watch"] > begun)  # a bookmark came since the job changed
    kube.objects.forget_all()  # the newest pod's version is now older than what is kept
    lists, watches = kube.calls["", "pods", "list"], kube.calls["", "pods", "watch"]
    wait_for(lambda: kube.calls["", "pods", "watch"] > watches + 1)
    assert kube.calls["", "pods", "list"] == lists
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_a_server_that_stays_away_ends_the_step_and_not_the_job(
    place: Place, kube: KubeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "OUTAGE_SECONDS", 0.1)
    monkeypatch.setattr(client, "TRIES", 0)
    kube.faults.append(Fault("watch", place.operator.of.plural, times=1000))
    training = place.train()
    error = training.wait()
    assert isinstance(error, ClusterError)
    assert "goes on without it" in str(error)
    assert len(place.operator.jobs()) == 1


def test_a_server_that_does_not_answer_is_named_as_the_reason(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    place.kubeconfig.write_text(re.sub(r"127.0.0.1:\d+", f"127.0.0.1:{port}", place.kubeconfig.read_text()))
    assert "The Kubernetes API server does not answer" in str(place.train().wait())


@pytest.mark.parametrize(
    ("verb", "resource"), [("create", "jobs"), ("list", "jobs"), ("list", "pods"), ("watch", "pods")]
)
def test_a_missing_permission_is_named(place: Place, kube: KubeServer, verb: str, resource: str) -> None:
    kube.forbidden.add((verb, place.operator.of.plural if resource == "jobs" else resource))
    error = str(place.train().wait())
    assert "refused (403): this service account may not" in error
    assert "namespace faces" in error
    assert "Role" in error


def test_a_log_that_may_not_be_read_does_not_end_the_training(place: Place, kube: KubeServer) -> None:
    kube.forbidden.add(("get", "pods/log"))
    training = place.train()
    job = place.operator.job()
    main, _ = place.operator.start(job)
    place.operator.end_container(main, 1)
    place.operator.set_condition(job, "Failed", message="1 worker failed")
    assert "1 worker failed" in str(training.wait())


def test_wrong_credentials_are_named(place: Place, kube: KubeServer) -> None:
    kube.write_kubeconfig(place.kubeconfig, token="not-the-one-that-it-knows")
    error = str(place.train().wait())
    assert "refused (401): its credentials are not accepted" in error
    assert "not-the-one" not in error


def test_a_cluster_without_the_operator_is_named(place: Place, kube: KubeServer) -> None:
    kube.faults.append(Fault("create", place.operator.of.plural, 404))
    assert f"it has no {place.operator.of.plural}.{place.operator.of.group}" in str(place.train().wait())


def test_a_quota_or_webhook_that_refuses_is_quoted(place: Place, kube: KubeServer) -> None:
    kube.faults.append(Fault("create", place.operator.of.plural, 403))
    assert "refused (403): not now" in str(place.train().wait())


def test_a_namespace_that_is_not_there_is_named(place: Place, kube: KubeServer) -> None:
    kube.namespaces.clear()
    error = str(place.train().wait())
    assert "refused (404): there is no namespace faces: create it (docs/install.md), or set namespace" in error


def test_a_quota_of_jobs_is_quoted_with_its_remedy(place: Place, kube: KubeServer) -> None:
    kind = f"{place.operator.of.plural}.{place.operator.of.group}"
    said = f'{kind} "night" is forbidden: exceeded quota: oaml, requested: count/{kind}=1'
    kube.faults.append(Fault("create", place.operator.of.plural, 403, says=said))
    error = str(place.train().wait())
    assert f"{said} (wait for other jobs to end, or have the ResourceQuota raised)." in error


def test_no_cluster_at_all_is_said_before_anything_is_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    assert "No cluster to train on" in str(place.train().wait())
