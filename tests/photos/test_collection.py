"""A folder of photographs becomes a folder of aligned faces: the same with any number of workers, and only once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from oaml_core.decoding import files
from oaml_core.errors import DataError
from oaml_core.photos import collection
from oaml_core.photos.alignment import align_points
from oaml_core.photos.collection import align_folder


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    (folder / "eileen").mkdir(parents=True)
    Image.fromarray(skimage.data.astronaut()).save(folder / "eileen" / "one.png")
    Image.fromarray(skimage.data.astronaut()).rotate(15).save(folder / "eileen" / "one.jpg")
    Image.fromarray(skimage.data.coffee()).save(folder / "cup.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".notes" not in path.parts
    }


def test_faces_landmarks_and_rejects_are_written(photographs: Path, tmp_path: Path) -> None:
    made = align_folder(photographs, tmp_path / "out")
    assert (made.faces, made.rejects) == (2, 2)
    rows = pq.read_table(tmp_path / "out" / "landmarks.parquet").to_pylist()
    assert [row["face"] for row in rows] == ["eileen/one.jpg.png", "eileen/one.png.png"]
    for row in rows:
        assert Image.open(tmp_path / "out" / row["face"]).size == (112, 112)
        assert align_points(np.reshape(row["points"], (5, 2))).error < 6
    rejects = (tmp_path / "out" / "rejects.csv").read_text()
    assert "cup.png" in rejects
    assert "No face was found" in rejects
    assert "broken.jpg" in rejects


def test_result_does_not_depend_on_the_workers(photographs: Path, tmp_path: Path) -> None:
    align_folder(photographs, tmp_path / "one")
    align_folder(photographs, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_second_run_looks_only_at_what_changed(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    align_folder(photographs, out)
    before = contents(out)
    looked: list[str] = []
    finder = collection._finder("yunet")
    original = type(finder).main_face
    monkeypatch.setattr(
        type(finder), "main_face", lambda self, path, size: looked.append(path.name) or original(self, path, size)
    )
    align_folder(photographs, out)
    assert looked == []
    assert contents(out) == before
    (out / "eileen" / "one.png.png").unlink()
    Image.fromarray(skimage.data.astronaut()).save(photographs / "new.png")
    assert align_folder(photographs, out).faces == 3
    assert sorted(looked) == ["new.png", "one.png"]


def test_photographs_that_go_or_cannot_be_read_are_rejected_and_looked_at_again(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, listed, out = files.read_regular, collection.regular_files, tmp_path / "out"

    def refused(path: Path, most: int) -> bytes:
        if path.name == "one.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, most)

    with monkeypatch.context() as patched:
        patched.setattr(files, "read_regular", refused)
        gone = {photographs: [photographs / "gone.jpg"]}
        patched.setattr(collection, "regular_files", lambda top, ends: [*listed(top, ends), *gone.get(top, [])])
        made = align_folder(photographs, out)
    assert (made.faces, made.rejects) == (1, 4)
    rejects = (out / "rejects.csv").read_text()
    assert "one.png cannot be read: Permission denied" in rejects
    assert "gone.jpg cannot be read: No such file" in rejects
    made = align_folder(photographs, out)
    assert (made.faces, made.rejects) == (2, 2)


def test_folders_that_cannot_be_aligned_are_named(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Photographs: there is no"):
        align_folder(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="lies inside"):
        align_folder(photographs, photographs / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photograph"):
        align_folder(tmp_path / "empty", tmp_path / "out")


def test_doubtful_faces_stand_on_a_page_with_their_reasons(tmp_path: Path) -> None:
    folder, out = tmp_path / "photographs", tmp_path / "out"
    folder.mkdir()
    astronaut = Image.fromarray(skimage.data.astronaut())
    astronaut.save(folder / "plain.png")
    assert align_folder(folder, out).doubtful == 0
    assert not (out / "doubtful.html").exists(), "nothing to look at"
    astronaut.resize((50, 50)).resize((512, 512)).save(folder / "<b>blurred & small #1.png")
    astronaut.point(lambda value: value // 6).save(folder / "night.png")
    made = align_folder(folder, out)
    assert made.doubtful == 2
    assert "2 faces doubtful" in str(made)
    page = (out / "doubtful.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;blurred &amp; small #1.png" in page
    assert "%3Cb%3Eblurred%20%26%20small%20%231.png.png" in page
    assert "<b>" not in page
    assert "blurred</span>" in page
    assert "dark</span>" in page
    assert "plain.png" not in page
    for row in pq.read_table(out / "landmarks.parquet").to_pylist():
        assert bool(row["doubts"]) == (row["photo"] != "plain.png")
