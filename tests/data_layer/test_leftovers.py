"""What lies in a source and is not used is counted, and who or what is lost by it is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from folder_readers import READERS, config_of, filled, picture

from oaml_core.data.check.checks import check_source
from oaml_core.data.sources.inputs import open_folders, open_inputs
from oaml_core.errors import DataError
from oaml_core.store import open_store


def test_a_source_counts_what_it_does_not_use_and_names_who_vanishes(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    (folder / "carla").symlink_to(tmp_path / "nowhere")
    (folder / "dora").mkdir()
    (folder / "dora" / "only.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "lfw.bin").symlink_to(tmp_path / "gone.bin")
    (folder / "kept_faces").symlink_to(tmp_path / "gone")
    (folder / "notes.txt").write_text("x")
    report = check_source(str(folder), config_of(folder, tmp_path / "work"))
    warnings, table = "\n".join(report.warnings), " ".join(report.table().split())
    for lost in ("carla", "dora", "lfw", "kept_faces"):
        assert lost in warnings
    assert "1 file is not used (ending: .txt); the first is 'notes.txt'" in table


def test_a_folder_of_unusable_entries_says_why_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "anna").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"links that lead nowhere.*anna"):
        check_source(str(tmp_path / "set"), config_of(tmp_path / "set", tmp_path / "work"))


def test_names_of_a_list_that_forge_lines_are_set_aside(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    rows = 'anna/one.png,anna\n"berta/one.png\ntraining may start",berta\nberta/one.png,"be\nrta"\n'
    (folder / "train.csv").write_text("path,identity\n" + rows)
    source = open_inputs(*_of_folder(folder, tmp_path)).training
    assert len(source) == 1
    assert [reason for _, reason in source.damaged] != []
    assert all("\n" not in name + reason for name, reason in source.damaged)


def _of_folder(folder: Path, tmp_path: Path):
    config = config_of(folder, tmp_path / "work")
    return config, open_folders(config.data, tmp_path / "work")


def test_a_store_prefix_passes_over_keys_that_forge_lines(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "shelf"))
    for key in ("set/anna/one.png", "set/anna/a\nb.png", "set/berta/one.png"):
        store.write_bytes(key, picture())
    config = config_of(f"file://{tmp_path}/shelf/set", tmp_path / "work")
    inputs = open_inputs(config, open_folders(config.data, tmp_path / "work"))
    assert len(inputs.training) == 2
    assert "a\\nb.png" in " ".join(inputs.leftovers.warnings)


def _kept(folder: Path, name: str, data: bytes = b"") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


VANISHING = {
    "an empty folder": lambda folder: (folder / "carla").mkdir(),
    "a folder with empty folders in it": lambda folder: (folder / "carla" / "2019" / "may").mkdir(parents=True),
    "a folder with hidden files alone": lambda folder: _kept(folder, "carla/.DS_Store"),
    "a folder with a hidden folder": lambda folder: _kept(folder, "carla/.hidden/one.png", picture()),
    "a folder without images": lambda folder: _kept(folder, "carla/notes.txt"),
    "a folder with images of an unknown ending": lambda folder: _kept(folder, "carla/one.heic", picture()),
    "a folder with broken images": lambda folder: _kept(folder, "carla/one.png", b"\x89PNG and nothing more"),
    "a folder with empty files": lambda folder: _kept(folder, "carla/one.png"),
    "a list whose files are missing": lambda folder: _kept(
        folder, "train.csv", b"path,identity\nanna/one.png,anna\nberta/one.png,berta\nanna/gone.png,carla\n"
    ),
    "a list without columns whose files are missing": lambda folder: _kept(
        folder, "train.txt", b"anna/one.png anna\nberta/one.png berta\nanna/gone.png carla\n"
    ),
}


@pytest.mark.parametrize("below", ["", "train/"])
@pytest.mark.parametrize("kind", VANISHING)
def test_a_person_of_whom_nothing_is_read_is_named(kind: str, below: str, tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    top = folder
    if below and "list" not in kind:
        for person in ("anna", "berta"):
            (folder / below).mkdir(exist_ok=True)
            (folder / person).rename(folder / below / person)
        top = folder / below
    VANISHING[kind](top)
    report = check_source(str(folder), config_of(folder, tmp_path / "work"))
    assert len(re.findall(r"carla(?![/\w])", " ".join(report.warnings))) == 1, report.warnings
    assert "2 identities" in report.table()


def test_people_left_out_by_a_setting_are_named(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    for person, number in (("anna", 5), ("berta", 6)):
        _kept(folder, f"{person}/two.png", picture(number))
    _kept(folder, "carla/one.png", picture(7))
    config = config_of(folder, tmp_path / "work")
    config = replace(config, data=replace(config.data, min_images_per_identity=2))
    table = " ".join(check_source(str(folder), config).table().split())
    assert "2 identities; 1 identity (carla) is left out by data.min_images_per_identity 2" in table


def test_junk_at_the_top_is_nobody(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    for name in (".git/one.png", ".DS_Store", "verification/._lfw_pairs.csv", "masks/.DS_Store"):
        _kept(folder, name)
    assert "lost" not in " ".join(check_source(str(folder), config_of(folder, tmp_path / "work")).warnings)


def test_images_outside_the_folders_of_people_are_a_warning(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    _kept(folder, "loose.png", picture(8))
    report = check_source(str(folder), config_of(folder, tmp_path / "work"))
    assert any("1 image lies in no folder of an identity" in warning for warning in report.warnings)


def test_folders_within_those_of_people_are_told(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    for number, name in enumerate(("carla", "dora")):
        _kept(folder, f"group/{name}/one.png", picture(number + 5))
    table = " ".join(check_source(str(folder), config_of(folder, tmp_path / "work")).table().split())
    assert "2 images lie in folders within that of their identity" in table
    assert "'group/carla/one.png' (group)" in table


def test_landmarks_of_no_training_image_are_told(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    (folder / "train_meta.json").write_text(json.dumps({"landmarks_by_path": {"anna/two.png": [[1, 2]] * 5}}))
    report = check_source(str(folder), config_of(folder, tmp_path / "work"))
    assert any("1 entry of its landmarks is of no training image" in warning for warning in report.warnings)


def test_a_pair_list_may_name_images_above_its_folder(tmp_path: Path) -> None:
    folder = filled(tmp_path, READERS["image folder"])
    _kept(folder, "anna/two.png", picture(5))
    rows = "../anna/one.png,../anna/two.png,1\n../anna/one.png,../berta/one.png,0\n"
    _kept(folder, "verification/own_pairs.csv", f"first,second,same\n{rows}".encode())
    pairs = open_inputs(*_of_folder(folder, tmp_path)).verification
    assert [len(each) for each in pairs] == [2]
    _kept(folder, "verification/own_pairs.csv", b"first,second,same\n../../outside/one.png,../anna/two.png,1\n")
    assert open_inputs(*_of_folder(folder, tmp_path)).unusable_sets
