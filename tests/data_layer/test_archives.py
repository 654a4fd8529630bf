"""An archive where a folder is wanted is refused by name, with what to do, by every command and setting."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_readers import READERS, config_of, filled, picture

from oaml_core.config import DataConfig
from oaml_core.data.augment.cutouts import open_cutouts
from oaml_core.data.check.checks import check_source
from oaml_core.data.prepared.niqab import NiqabMaskDataset
from oaml_core.data.sources.base import LocalFolder, open_folder
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.inputs import open_folders
from oaml_core.errors import OamlError
from oaml_core.evaluation.covered.cohort import open_strangers
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.evaluation.templates.lists import read_lists
from oaml_core.inference.identify import gallery_files
from oaml_core.photos.collection import align_folder
from oaml_core.restoration.apply import pictures_at
from oaml_core.restoration.photographs import read_photograph

WANTED: dict[str, Callable[[Path], object]] = {
    "data.source": lambda path: open_folder(str(path), path.parent / "work"),
    "--faces": lambda path: open_folder(str(path), path.parent / "work", key="--faces"),
    "photographs to align": lambda path: align_folder(path, path.parent / "out"),
    "gallery": gallery_files,
    "cut-outs": open_cutouts,
    "faces and masks": NiqabMaskDataset,
    "templates": read_lists,
    "strangers": lambda path: open_strangers(path, 112, 4),
    "covered benchmark": open_faces,
    "photographs to restore": lambda path: [read_photograph(one) for one in pictures_at(path)],
}


@pytest.fixture(params=["faces.zip", "faces.tar.gz", "FACES.7Z"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("anna/one.png", picture())
    return path


@pytest.mark.parametrize("what", WANTED)
def test_an_archive_in_place_of_a_folder_is_refused_with_the_remedy(what: str, archive: Path) -> None:
    with pytest.raises(OamlError) as refused:
        WANTED[what](archive)
    said = str(refused.value)
    assert archive.name in said
    assert "npack" in said or "ZIP" in said


@pytest.mark.parametrize("key", ["verification_source", "visibility_source", "unlabelled_source"])
def test_the_setting_that_names_the_archive_is_named(key: str, archive: Path, tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    with pytest.raises(OamlError, match=rf"data\.{key}: .*is an archive: unpack it"):
        open_folders(DataConfig(source=str(folder), **{key: str(archive)}), tmp_path / "work")


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "faces.txt").write_text("x")
    for name, said in (("gone", "there is no"), ("faces.txt", "is a file, and a folder is wanted")):
        with pytest.raises(OamlError, match=said):
            LocalFolder(tmp_path / name)


def test_an_archive_in_the_folder_of_a_person_is_to_be_unpacked(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    (folder / "carla").mkdir()
    (folder / "carla" / "holiday.zip").write_bytes(b"PK\3\4")
    notes = " ".join(ImageFolderSource(LocalFolder(folder)).notes)
    assert "Unpack them" in notes
    assert "JPEG" not in notes
    warnings = " ".join(check_source(str(folder), config_of(folder, tmp_path / "work")).warnings)
    assert "carla" in warnings
