"""Faults of a wire or an S3 server that pass: they are tried again, and not called damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest
from minio.error import S3Error

from oaml_core.errors import StoreError
from oaml_core.store import open_store, s3_client
from oaml_core.store.s3 import S3Store
from oaml_core.store.s3_client import with_retries


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "FIRST_WAIT", 0.0)


def fault(code: str, status: int) -> S3Error:
    return S3Error(SimpleNamespace(status=status, headers={}), code, "no", "/key", "1", "1")


@pytest.mark.parametrize(
    "passing",
    [
        fault("ThrottlingException", 400),
        fault("TooManyRequests", 429),
        fault("OwnCodeOfAServer", 429),
        fault("OwnCodeOfAServer", 503),
        ParseError("no element found"),
    ],
    ids=["throttling", "429", "own 429", "own 503", "short XML"],
)
def test_a_fault_that_passes_is_tried_again(passing: Exception) -> None:
    answers = [passing, passing, None]

    def call() -> str:
        if (answer := answers.pop(0)) is not None:
            raise answer
        return "content"

    assert with_retries("s3://oaml/key", call) == "content"


def test_what_does_not_pass_is_named() -> None:
    def fail(error: Exception) -> Callable[[], str]:
        def call() -> str:
            raise error

        return call

    with pytest.raises(StoreError, match="answers are cut off"):
        with_retries("s3://oaml/key", fail(ParseError("no element found")))
    with pytest.raises(StoreError, match="AccessDenied"):
        with_retries("s3://oaml/key", fail(fault("AccessDenied", 403)))


def test_a_bit_flipped_on_the_way_is_fetched_again(
    tmp_path: Path, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"s3://oaml/{tmp_path.name}")
    store.write_bytes("object", b"content")
    read, flips = S3Store._stream, [True]

    def noisy(self: S3Store, full: str, path: Path | None) -> Any:
        found = read(self, full, path)
        if flips and flips.pop():
            if path is not None:
                path.write_bytes(b"cOntent")
            return found._replace(sha256="0" * 64)
        return found

    monkeypatch.setattr(S3Store, "_stream", noisy)
    assert store.read_bytes("object") == b"content"
    flips.append(True)
    assert store.is_intact("object") is True
    flips += [True, True]
    with pytest.raises(StoreError, match="damaged"):
        store.read_bytes("object")
