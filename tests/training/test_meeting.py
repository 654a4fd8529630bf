"""The folder of a meeting holds all temporary files, and goes with them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from oaml_core.training.meeting import meeting_folder, temporary_environment


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_goes_with_all_that_workers_put_there(temporary: Path) -> None:
    with meeting_folder() as folder:
        place = Path(temporary_environment(folder)["TMPDIR"]) if len(str(folder)) < 60 else folder
        (place / "pymp-x").mkdir()
    assert list(temporary.iterdir()) == []


def test_temporary_files_stay_where_sockets_would_have_too_long_names() -> None:
    assert temporary_environment(Path("/") / ("x" * 100)) == {}


def test_compiled_kernels_outlive_the_meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        variables = temporary_environment(Path(name))
        assert Path(variables["TMPDIR"]).parent == Path(name)
        assert not Path(variables["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(name)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", os.devnull)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        assert "TORCHINDUCTOR_CACHE_DIR" not in temporary_environment(Path(name))
