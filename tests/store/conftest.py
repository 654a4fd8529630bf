"""An S3 server on loopback, and a store of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.embedded_s3 import embedded_s3
from oaml_core.store import Store, open_store


@pytest.fixture(scope="session")
def s3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the session's S3 server serves, one bucket a folder."""
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="session")
def s3_variables(s3_folder: Path) -> Iterator[dict[str, str]]:
    """Endpoint and credentials of a running server."""
    with embedded_s3(s3_folder) as variables:
        yield variables


@pytest.fixture
def s3_environment(s3_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same, set in this process' environment."""
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)
    return s3_variables


@pytest.fixture(params=["folder", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def root(kind: str, tmp_path: Path, s3_folder: Path) -> Path:
    """The folder on disk in which the store's objects lie."""
    return tmp_path / "store" if kind == "folder" else s3_folder / "oaml" / tmp_path.name


@pytest.fixture
def store(kind: str, root: Path, tmp_path: Path, s3_environment: dict[str, str]) -> Store:
    return open_store(str(root) if kind == "folder" else f"s3://oaml/{tmp_path.name}")
