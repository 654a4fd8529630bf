"""Keys that run out are renewed in time."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from minio.credentials.credentials import Credentials

from oaml_core.errors import StoreError
from oaml_core.store.s3_credentials import credentials_provider
from oaml_core.store.s3_identity import NoSuchWay


class Clock:
    """A way whose keys are valid for `seconds`, and a clock that tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float | None) -> None:
        self.began = datetime.now(UTC)
        self.seconds, self.now, self.fails, self.given = seconds, 0.0, False, 0
        monkeypatch.setattr("oaml_core.store.s3_credentials.time.time", lambda: self.began.timestamp() + self.now)
        monkeypatch.setattr("minio.time.utcnow", lambda: self.began + timedelta(seconds=self.now))

    def find(self) -> Credentials:
        if self.fails:
            raise StoreError("the STS is away.")
        self.given += 1
        end = None if self.seconds is None else self.began + timedelta(seconds=self.now + self.seconds)
        return Credentials(f"key-{self.given}", "secret", None, end)


@pytest.mark.parametrize(("seconds", "kept", "renewed"), [(3600.0, 2990, 3010), (900.0, 670, 680), (None, 50, 61)])
def test_keys_are_renewed_before_they_run_out(
    monkeypatch: pytest.MonkeyPatch, seconds: float | None, kept: float, renewed: float
) -> None:
    clock = Clock(monkeypatch, seconds)
    chain = credentials_provider([("it", clock.find)])
    assert chain.retrieve().access_key == "key-1"
    clock.now = kept
    assert chain.retrieve().access_key == "key-1"
    clock.now = renewed
    assert chain.retrieve().access_key == "key-2"


def test_keys_that_cannot_be_renewed_are_used_until_they_run_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch, 3600.0)
    chain = credentials_provider([("it", clock.find)])
    chain.retrieve()
    clock.now, clock.fails = 3100.0, True
    with caplog.at_level(logging.WARNING):
        assert chain.retrieve().access_key == "key-1"
    assert "the STS is away" in caplog.text
    clock.now, clock.fails = 3140.0, False
    assert chain.retrieve().access_key == "key-2", "it is asked again after half a minute"


def test_a_way_that_fails_is_not_passed_over_for_the_next() -> None:
    def absent() -> Credentials:
        raise NoSuchWay("not here")

    def refused() -> Credentials:
        raise StoreError("the role does not trust this account.")

    chain = credentials_provider([("a", absent), ("b", refused), ("c", lambda: Credentials("somebody", "else"))])
    with pytest.raises(StoreError, match="does not trust"):
        chain.retrieve()
