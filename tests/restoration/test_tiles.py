"""Tile folders: which tiles are clean, what is refused, and shards that hold the same tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from oaml_core.errors import DataError
from oaml_core.restoration.tile_check import validate_dataset_compatibility
from oaml_core.restoration.tile_shards import TileShards, write_shards
from oaml_core.restoration.tiles import TileEntry, TileFolder, clean_entries


def write_folder(folder: Path, rows: list[dict[str, Any]], tiles: dict[str, torch.Tensor] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for row in rows:
        row.setdefault("file", f"{row['id']}.pt")
        row.setdefault("split", "train")
        tile = (tiles or {}).get(row["id"], torch.rand((3, 16, 16), generator=generator) * 2 - 1)
        torch.save(tile, folder / row["file"])
    (folder / "metadata.json").write_text(json.dumps({"tiles": rows}))
    return folder


@pytest.mark.parametrize(
    ("entry", "clean"),
    [
        (TileEntry("a", "a.pt", "train", is_clean=True, data_type="noisy"), True),
        (TileEntry("a", "a.pt", "train", is_clean=False, data_type="long"), False),
        (TileEntry("a_0.1s_0", "a.pt", "train", data_type="long"), True),
        (TileEntry("a_10s_0", "a.pt", "train", data_type="short"), False),
        (TileEntry("a_0.04s_0", "a.pt", "train"), False),
        (TileEntry("sony_00017_10s_3", "a.pt", "train"), True),
        (TileEntry("a", "a.pt", "train"), None),
    ],
)
def test_is_clean_decides_then_data_type_then_the_exposure(entry: TileEntry, clean: bool | None) -> None:
    assert entry.clean is clean


def test_only_clean_tiles_of_split_and_domain_are_read(tmp_path: Path) -> None:
    rows = [
        {"id": "one", "is_clean": True, "domain": "face"},
        {"id": "two", "is_clean": False, "domain": "face"},
        {"id": "three", "data_type": "long", "domain": "sky"},
        {"id": "four", "data_type": "long", "domain": "face", "split": "test"},
    ]
    folder = write_folder(tmp_path / "t", rows)
    assert [e.id for e in clean_entries(folder, "train")] == ["one", "three"]
    assert [e.id for e in clean_entries(folder, "train", "sky")] == ["three"]
    labelled = TileFolder(folder, "train", use_labels=True)
    assert labelled.domains == ("face", "sky")
    assert labelled.label(1).tolist() == [0, 1]
    assert TileFolder(folder, "train").label(0).shape == (0,)


def test_a_tile_that_no_rule_decides_is_listed_and_not_guessed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "t", [{"id": "sure", "is_clean": True}, {"id": "who_knows"}])
    with pytest.raises(DataError, match="who_knows"):
        clean_entries(folder, "train")


def test_files_and_entries_must_be_the_same(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "t", [{"id": "a", "is_clean": True}])
    torch.save(torch.zeros(3, 16, 16), folder / "stray.pt")
    with pytest.raises(DataError, match=r"no entry lists: stray\.pt"):
        clean_entries(folder, "train")
    (folder / "stray.pt").unlink()
    (folder / "a.pt").unlink()
    with pytest.raises(DataError, match=r"file is missing: a\.pt"):
        clean_entries(folder, "train")


def test_the_check_lists_every_unfit_tile(tmp_path: Path) -> None:
    good = torch.rand(3, 16, 16) * 2 - 1
    tiles = {
        "nan": torch.where(good > 0.9, torch.nan, good),
        "bright": good * 3,
        "flat": torch.zeros(3, 16, 16),
        "double": good.double(),
        "large": torch.rand(3, 32, 32),
    }
    rows = [{"id": name, "is_clean": True} for name in ("good", *tiles)]
    rows.append({"id": "grainy", "is_clean": True, "data_type": "short"})
    folder = write_folder(tmp_path / "t", rows, {"good": good, **tiles})
    with pytest.raises(DataError) as error:
        validate_dataset_compatibility(folder)
    text = str(error.value)
    for name, why in {
        "nan": "NaN",
        "bright": "not in [-1, 1]",
        "flat": "equal",
        "double": "float64",
        "large": "shape",
        "grainy": "data_type is 'short'",
    }.items():
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
        assert why in line
    assert "good:" not in text


def test_a_tile_file_that_would_run_code_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = write_folder(tmp_path / "t", [{"id": "a", "is_clean": True}])
    torch.save(Evil(), folder / "a.pt")
    with pytest.raises(DataError, match=r"a: .*cannot be read"):
        validate_dataset_compatibility(folder)
    assert not (tmp_path / "ran").exists()


def test_shards_hold_the_same_tiles_and_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oaml_core.restoration.tile_shards.SHARD_BYTES", 2 * 3 * 16 * 16 * 4)
    folder = write_folder(tmp_path / "t", [{"id": f"tile{i}", "is_clean": True} for i in range(5)])
    fingerprint = write_shards(folder, tmp_path / "s")
    shards, tiles = TileShards(tmp_path / "s", "train"), TileFolder(folder, "train")
    assert len(shards) == 5
    assert all(torch.equal(shards.read(i), tiles.read(i)) for i in range(5))
    before = (tmp_path / "s" / "tiles.json").stat().st_mtime_ns
    assert write_shards(folder, tmp_path / "s") == fingerprint
    assert (tmp_path / "s" / "tiles.json").stat().st_mtime_ns == before
    torch.save(torch.rand(3, 16, 16), folder / "tile3.pt")
    assert write_shards(folder, tmp_path / "s") != fingerprint


def test_shards_without_their_manifest_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "t", [{"id": "a", "is_clean": True}])
    write_shards(folder, tmp_path / "s")
    (tmp_path / "s" / "tiles.json").unlink()
    with pytest.raises(DataError, match="prepare them again"):
        TileShards(tmp_path / "s", "train")


def test_entries_by_tile_id_need_no_file(tmp_path: Path) -> None:
    torch.save(torch.zeros(3, 8, 8), tmp_path / "sony_1.pt")
    entry = {"tile_id": "sony_1", "split": "train", "data_type": "long"}
    (tmp_path / "metadata.json").write_text(json.dumps({"tiles": [entry]}))
    assert [(e.id, e.file) for e in clean_entries(tmp_path, "train")] == [("sony_1", "sony_1.pt")]


def test_a_separate_metadata_file_lists_the_tiles_it_wants(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": name, "is_clean": True} for name in ("a", "b", "c")]
    folder = write_folder(tmp_path / "t", rows)
    night = tmp_path / "metadata_night.json"
    night.write_text(json.dumps([{"tile_id": n, "split": "train", "data_type": "long"} for n in ("a", "c")]))
    assert [e.id for e in clean_entries(folder, "train", metadata=night)] == ["a", "c"]
    assert len(TileFolder(folder, "train", metadata=night)) == 2
    fingerprint = write_shards(folder, tmp_path / "s", metadata=night)
    assert len(TileShards(tmp_path / "s", "train")) == 2
    assert fingerprint != write_shards(folder, tmp_path / "all")
    night.write_text(json.dumps([{"tile_id": "gone", "split": "train", "data_type": "long"}]))
    with pytest.raises(DataError, match=r"metadata_night\.json: entries whose file is missing: gone\.pt"):
        write_shards(folder, tmp_path / "s", metadata=night)


def test_faults_are_to_be_mended_in_the_file_that_lists_the_tiles(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "t", [{"id": "a", "is_clean": True}], {"a": torch.zeros(3, 16, 16)})
    (folder / "metadata.json").rename(tmp_path / "night.json")
    with pytest.raises(DataError, match=r"their entries in \S*night\.json"):
        validate_dataset_compatibility(folder, metadata=tmp_path / "night.json")
