"""Parts of a TrainJob can be refused before there is a pod: the JobSet, its Job, its Service."""

from __future__ import annotations

import pytest
from operator_part import wait_for
from training_place import Place

pytestmark = pytest.mark.parametrize("place", ["trainer"], indirect=True)
WEBHOOK = 'admission webhook "policy.example.com" denied the request: images must be signed'
PARTS = [
    ("TrainJob", "TrainJobResourcesCreationFailed"),
    ("JobSet", "JobCreationFailed"),
    ("JobSet", "HeadlessServiceCreationFailed"),
]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.train.job_events.LOOK_SECONDS", 0.1)


@pytest.mark.parametrize(("kind", "reason"), PARTS)
def test_a_part_of_a_train_job_that_cannot_be_made_is_reported_and_waited_for(
    place: Place, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    training = place.train(start_patience_seconds=0)
    job = place.operator.job()
    about = {"kind": kind, "name": job["metadata"]["name"]}
    place.operator.warn(about, reason, 'jobs.batch "night-node-0" is forbidden: exceeded quota: oaml')
    place.operator.warn(about, reason, "Internal error occurred: no endpoints available for service jobset-webhook")
    wait_for(lambda: "quota leaves no room for a part of the job" in caplog.text)
    wait_for(lambda: "no endpoints available for service jobset-webhook. It is tried again." in caplog.text)
    assert not training.is_over
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None


def test_a_part_of_a_train_job_that_a_policy_refuses_cancels_the_job(place: Place) -> None:
    training = place.train(start_patience_seconds=0)
    job = place.operator.job()
    place.operator.warn({"kind": "JobSet", "name": job["metadata"]["name"]}, "JobCreationFailed", WEBHOOK)
    error = training.wait()
    assert "an admission webhook refuses a part of the job" in str(error)
    assert "images must be signed. Its reason stands here" in str(error)
    assert place.operator.jobs() == []
