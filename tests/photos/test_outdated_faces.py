"""Aligned faces of photographs that are gone, or show them no more, do not stay among those of the present ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.errors import ModelInputError
from oaml_core.photos.collection import align_folder
from oaml_core.photos.faces import FaceFinder, FaceNotFoundError
from oaml_core.photos.files import load_photo
from oaml_core.photos.photo_face import PhotoFace, as_it_is


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two photographs, in which a finder sees two faces, or none where they are black."""

    def all_faces(_: FaceFinder, path: Path, size: int = 112) -> list[PhotoFace]:
        photo = load_photo(path)
        return [as_it_is(photo, path, size)] * 2 if photo.any() else []

    def main_face(finder: FaceFinder, path: Path, size: int = 112) -> PhotoFace:
        if found := all_faces(finder, path, size):
            return found[0]
        raise FaceNotFoundError(f"No face was found in {path}.")

    monkeypatch.setattr(FaceFinder, "all_faces", all_faces)
    monkeypatch.setattr(FaceFinder, "main_face", main_face)
    folder = tmp_path / "photographs"
    (folder / "ann").mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(np.full((112, 112, 3), 40 * number, np.uint8)).save(folder / "ann" / f"{number}.png")
    return folder


def faces(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def test_a_face_goes_with_its_photograph(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert align_folder(photographs, out).outdated == 0
    (photographs / "ann" / "2.png").unlink()
    made = align_folder(photographs, out)
    assert faces(out) == ["ann/1.png.png"]
    assert (made.faces, made.outdated) == (1, 1)
    assert "1 outdated face of an earlier run deleted" in str(made)
    assert not (out / ".notes" / "ann" / "2.png.json").exists()


def test_faces_go_that_a_photograph_shows_no_more(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert align_folder(photographs, out, every=True).faces == 4
    assert align_folder(photographs, out).outdated == 2
    assert faces(out) == ["ann/1.png.png", "ann/2.png.png"]
    Image.new("RGB", (112, 112)).save(photographs / "ann" / "2.png")
    made = align_folder(photographs, out)
    assert (made.rejects, made.outdated) == (1, 1)
    assert faces(out) == ["ann/1.png.png"]


def test_faces_of_another_folder_and_files_of_others_stay(photographs: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    align_folder(photographs, out)
    other.mkdir()
    Image.fromarray(np.full((112, 112, 3), 9, np.uint8)).save(other / "x.png")
    (out / "ann" / "mine.png").write_bytes(b"")
    note = out / ".notes" / "ann" / "2.png.json"
    note.write_text(note.read_text().replace("ann/2.png.png", "ann/mine.png"))
    assert align_folder(other, out).outdated == 0
    (photographs / "ann" / "2.png").unlink()
    align_folder(photographs, out)
    assert faces(out) == ["ann/1.png.png", "ann/2.png.png", "ann/mine.png", "x.png.png"]


def test_a_disk_that_fails_from_the_start_leaves_no_notes_to_look_through(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        try:
            raise OSError(5, "Input/output error")
        except OSError:
            raise ModelInputError("It cannot be read.")  # noqa: B904  (as the reader of images raises it)

    monkeypatch.setattr(FaceFinder, "main_face", fails)
    assert align_folder(photographs, tmp_path / "out").rejects == 2
