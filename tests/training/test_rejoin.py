"""What becomes of a node whose torchrun ended because the rendezvous was gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oaml_core.training import rejoin
from oaml_core.training.rejoin import run_and_rejoin


class Torchrun:
    """Ends as it is told to, each time that it is started."""

    def __init__(self, failure: Path, *ends: tuple[int, str | None]) -> None:
        self.failure, self.ends, self.started = failure, list(ends), 0

    def __call__(self) -> int:
        self.started += 1
        code, message = self.ends[min(self.started, len(self.ends)) - 1]
        if message is not None:
            self.failure.write_text(json.dumps({"message": {"message": message}}))
        return code


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejoin, "WAIT_SECONDS", 0.0)


def test_a_lost_rendezvous_is_joined_again(tmp_path: Path) -> None:
    failure = tmp_path / "failure.json"
    lost = (1, "RendezvousConnectionError: The connection to the C10d store has failed.")
    torchrun = Torchrun(failure, lost, (1, "DistNetworkError: Connection reset by peer"), (0, None))
    assert run_and_rejoin(torchrun, failure) == 0
    assert torchrun.started == 3


@pytest.mark.parametrize(
    "end", [(0, None), (1, None), (1, "ChildFailedError: worker"), (-15, "RendezvousConnectionError: x"), (1, "")]
)
def test_other_ends_are_final(tmp_path: Path, end: tuple[int, str | None]) -> None:
    failure = tmp_path / "failure.json"
    failure.write_text(json.dumps({"message": {"message": "RendezvousConnectionError: of an earlier run"}}))
    torchrun = Torchrun(failure, end)
    assert (run_and_rejoin(torchrun, failure), torchrun.started) == (end[0], 1)


def test_it_is_given_up_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejoin, "PATIENCE_SECONDS", -1.0)
    failure = tmp_path / "failure.json"
    torchrun = Torchrun(failure, (1, "RendezvousTimeoutError: nobody came"))
    assert (run_and_rejoin(torchrun, failure), torchrun.started) == (1, 1)
