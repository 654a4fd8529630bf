"""What lies in a source and is not used is counted, and who or what is lost by it is named."""

from __future__ import annotations

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
