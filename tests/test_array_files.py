"""Arrays of others: what a file announces must be in it, and an archive may not unpack without end."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from oaml_core import array_files
from oaml_core.array_files import plain_type, read_arrays
from oaml_core.errors import DataError


def archive(path: Path, values: np.ndarray, **names: int) -> Path:
    """Write an archive of arrays that compress well, as often as `names` says."""
    content = io.BytesIO()
    np.save(content, values)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, count in names.items():
            for number in range(count):
                file.writestr(f"{name}{number}.npy", content.getvalue())
    return path


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any archive may unpack to 64 KiB, larger ones to 200 times their size."""
    monkeypatch.setattr(array_files, "MOST_UNPACKED", 2**16)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("names", [{"one": 1}, {"many": 40}], ids=str)
def test_an_archive_that_unpacks_without_end_is_refused_before_it_is_unpacked(
    tmp_path: Path, names: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = archive(tmp_path / "bomb.npz", np.zeros(2_000_000, np.uint8), **names)
    assert bomb.stat().st_size * 200 < 2_000_000 * sum(names.values())
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it is being unpacked"))
    with pytest.raises(DataError, match=r"bomb\.npz cannot be read as arrays \(.* bytes would unpack to .*\)"):
        read_arrays(bomb, str(bomb), "Copy it again.", DataError)


@pytest.mark.usefixtures("little_room")
def test_the_bound_does_not_refuse_what_compresses_as_scores_do(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).integers(0, 50, 200_000).astype(np.float32)
    path = archive(tmp_path / "scores.npz", scores, scores=1)
    assert np.array_equal(read_arrays(path, "scores", "", DataError)["scores0"], scores)


def test_an_archive_that_lies_about_what_it_unpacks_to_is_read_no_further(tmp_path: Path) -> None:
    path = archive(tmp_path / "lies.npz", np.zeros(500_000, np.uint8), one=1)
    content = path.read_bytes()
    size = (500_128).to_bytes(4, "little")
    assert content.count(size) == 2, "in the local header and in the directory"
    path.write_bytes(content.replace(size, (1_000).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"lies\.npz cannot be read"):
        read_arrays(path, str(path), "Copy it again.", DataError)


@pytest.mark.parametrize("name", ["uint8", "float32", "<f4", "int64", "bool", "|u1"])
def test_plain_types_are_known(name: str) -> None:
    assert plain_type(name) == np.dtype(name)


@pytest.mark.parametrize("name", ["object", "O", "9" * 5000, "f4,f4", "(2,)f4", "V8", "float33", "", None, 4, ["f4"]])
def test_other_types_are_refused(name: object) -> None:
    with pytest.raises(ValueError, match="is no type of numbers"):
        plain_type(name)
