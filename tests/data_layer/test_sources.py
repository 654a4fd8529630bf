"""Folders, lists and stores of images as training sources, and what is selected from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from oaml_core.data.sources.base import LocalFolder, StoreFolder, open_folder
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.inputs import Folders, open_folders, open_inputs, select
from oaml_core.errors import DataError
from oaml_core.store import open_store
from tests.data_layer.conftest import DATA


def inputs(folder: Path, config, **data: object):
    made = config(folder, **data)
    return open_inputs(made, open_folders(made.data, folder / "scratch"))


def test_each_sub_folder_is_an_identity(image_folder: Path) -> None:
    (image_folder / "person0" / "notes.txt").write_text("not an image")
    source = ImageFolderSource(LocalFolder(image_folder))
    assert source.labels.tolist() == [0] * 3 + [1] * 4 + [2] * 5
    assert source.identity_name(2) == "person2"
    assert source.read(3) == (image_folder / "person1" / "0.jpg").read_bytes()


def test_a_train_folder_beside_verification_images_is_taken(image_folder: Path, tmp_path: Path, config) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    image_folder.rename(whole / "train")
    (whole / "verification").mkdir()
    (whole / "verification" / "lfw.bin").write_bytes((DATA / "small_lfw.bin").read_bytes())
    opened = inputs(whole, config)
    assert len(opened.training) == 12
    assert [pairs.name for pairs in opened.verification] == ["lfw"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_names_images_and_identities(image_folder: Path, config, kind: str) -> None:
    rows = [("person2/0.jpg", "Zoe"), ("person0/1.jpg", "Ada"), ("person2/1.jpg", "Zoe")]
    if kind == "csv":
        (image_folder / "train.csv").write_text("path,identity\n" + "".join(f"{p},{i}\n" for p, i in rows))
    else:
        table = pyarrow.table({"path": [p for p, _ in rows], "identity": [i for _, i in rows]})
        pyarrow.parquet.write_table(table, image_folder / "train.parquet")
    source = inputs(image_folder, config).training
    assert [(source.name(i), source.identity_name(int(source.labels[i]))) for i in range(3)] == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,identity\na.jpg,1\n", "lacks the column 'path'"),
        ("path,identity\n", "lists no image"),
        ("path,identity\n../secret.jpg,1\n", "leaves the source folder"),
    ],
)
def test_a_wrong_list_is_refused(image_folder: Path, config, text: str, message: str) -> None:
    (image_folder / "train.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        inputs(image_folder, config)


def test_landmarks_of_image_files_are_picked_up(image_folder: Path) -> None:
    points = [[float(i), 2.0 * i] for i in range(5)]
    meta = image_folder / "train_meta.json"
    meta.write_text(json.dumps({"landmarks_by_path": {"person1/0.jpg": points}}))
    landmarks = ImageFolderSource(LocalFolder(image_folder)).landmarks
    assert landmarks is not None
    assert landmarks[3].tolist() == points
    assert np.isnan(np.delete(landmarks, 3, axis=0)).all()
    meta.write_text(json.dumps({"landmarks_by_path": {"person1/0.jpg": points[:4]}}))
    with pytest.raises(DataError, match=r"person1/0\.jpg.* needs five points"):
        ImageFolderSource(LocalFolder(image_folder))


def test_an_empty_folder_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither train\.rec nor train\.csv"):
        ImageFolderSource(LocalFolder(tmp_path / "empty"))
    with pytest.raises(DataError, match="there is no"):
        LocalFolder(tmp_path / "missing")


def test_small_identities_are_left_out(image_folder: Path, config) -> None:
    opened = inputs(image_folder, config, min_images_per_identity=4)
    assert set(opened.training.labels[opened.selected].tolist()) == {1, 2}
    with pytest.raises(DataError, match="min_images_per_identity 9"):
        inputs(image_folder, config, min_images_per_identity=9)


def test_a_subset_chooses_by_path_or_record_number(image_folder: Path, recordio: Path, tmp_path: Path, config) -> None:
    subset = tmp_path / "subset.txt"
    subset.write_text("person2/4.jpg\nperson0/0.jpg\n\n")
    opened = inputs(image_folder, config, subset=str(subset))
    assert [opened.training.name(i) for i in opened.selected] == ["person0/0.jpg", "person2/4.jpg"]
    subset.write_text("60\n7\n7\n")
    opened = inputs(recordio, config, subset=str(subset))
    assert [opened.training.name(i) for i in opened.selected] == ["record 7", "record 60"]


def test_a_subset_that_names_nothing_is_refused(image_folder: Path, recordio: Path, tmp_path: Path, config) -> None:
    subset = tmp_path / "subset.txt"
    for folder, line in ((image_folder, "person9/0.jpg"), (recordio, "61"), (recordio, "first")):
        subset.write_text(line)
        with pytest.raises(DataError, match=r"data\.subset"):
            inputs(folder, config, subset=str(subset))


def test_selection_of_many_labels_needs_no_image() -> None:
    class Labels(ImageFolderSource):
        def __init__(self) -> None:
            self.labels = np.random.default_rng(0).integers(0, 1000, 200_000)

    from oaml_core.config import DataConfig

    chosen = select(Labels(), DataConfig(min_images_per_identity=200))
    counts = np.bincount(Labels().labels, minlength=1000)
    assert len(chosen) == counts[counts >= 200].sum()


@pytest.mark.parametrize("kind", ["images", "records"])
def test_a_store_is_read_like_a_folder(image_folder: Path, recordio: Path, tmp_path: Path, config, kind: str) -> None:
    local = image_folder if kind == "images" else recordio
    open_store(str(tmp_path / "remote")).put_tree(local, "raw/faces")
    there = open_folder(f"file://{tmp_path}/remote/raw/faces", tmp_path / "scratch")
    assert isinstance(there, StoreFolder)
    remote = open_inputs(config(local), Folders(there, there, there)).training
    here = inputs(local, config).training
    assert [remote.read(i) for i in range(len(remote))] == [here.read(i) for i in range(len(here))]


def test_a_changed_object_in_a_store_is_fetched_again(recordio: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "remote"))
    store.put_file(recordio / "property", "raw/property")
    assert (
        open_folder(f"file://{tmp_path}/remote/raw", tmp_path / "scratch").local("property").read_text()
        == "12,112,112\n"
    )
    (recordio / "property").write_text("13,112,112\n")
    store.put_file(recordio / "property", "raw/property")
    assert (
        open_folder(f"file://{tmp_path}/remote/raw", tmp_path / "scratch").local("property").read_text()
        == "13,112,112\n"
    )


def test_an_empty_prefix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    with pytest.raises(DataError, match="nothing lies under"):
        open_folder(f"file://{tmp_path}/remote", tmp_path / "scratch")


def wrapped(folder: Path, inside: str) -> Path:
    """Move the identities of a folder below others."""
    whole = folder.with_name("whole")
    (whole / inside).parent.mkdir(parents=True, exist_ok=True)
    folder.rename(whole / inside)
    return whole


@pytest.mark.parametrize("inside", ["faces", "imgs", "a/b", "train/faces"])
def test_an_unpacked_archive_is_looked_into(image_folder: Path, inside: str) -> None:
    whole = wrapped(image_folder, inside)
    (whole / "readme.jpg").write_bytes(b"a picture at the top is nobody's")
    (whole / "masks").mkdir()
    (whole / "masks" / "1_mask.png").write_bytes(b"")
    source = ImageFolderSource(LocalFolder(whole))
    assert source.labels.tolist() == [0] * 3 + [1] * 4 + [2] * 5
    assert source.identity_name(2) == "person2"
    assert any(f"below {inside}/" in note for note in source.notes)
    assert source.name(0).startswith(f"{inside}/person0")


@pytest.mark.parametrize("beside", ["faces/other.jpg", "anna/1.jpg"])
def test_a_person_with_folders_of_images_stays_one_person(image_folder: Path, beside: str) -> None:
    whole = wrapped(image_folder, "faces")
    (whole / beside).parent.mkdir(exist_ok=True)
    (whole / beside).write_bytes((whole / "faces" / "person0" / "0.jpg").read_bytes())
    source = ImageFolderSource(LocalFolder(whole))
    assert set(source.identities) == {name for name in ("anna", "faces") if name in f"faces {beside}"}


def test_a_lost_identity_of_an_unpacked_archive_is_named(image_folder: Path, config) -> None:
    whole = wrapped(image_folder, "faces")
    (whole / "faces" / "ida").symlink_to(whole / "nowhere")
    (whole / "faces" / "person1" / "gone.JPG").symlink_to(whole / "nowhere")
    for image in (whole / "faces" / "person1").glob("*.jpg"):
        image.rename(image.with_suffix(".JPG"))
    lost = [warning for warning in inputs(whole, config).leftovers.warnings if "identities lost" in warning]
    assert len(lost) == 1
    assert "read: 1 (ida)." in lost[0]
