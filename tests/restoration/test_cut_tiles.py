"""Photographs as tiles: pixels, metadata, and that training takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_photographs import dng, mosaic

from oaml_core.cli import main
from oaml_core.errors import ConfigError, DataError
from oaml_core.restoration.cut_tiles import cut_tiles, photographs_at
from oaml_core.restoration.tile_check import validate_dataset_compatibility
from oaml_core.restoration.tiles import clean_entries, read_metadata, read_tile


def photograph(path: Path, height: int = 40, width: int = 70, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    return image


def test_tiles_lie_side_by_side_and_training_takes_them(tmp_path: Path) -> None:
    image = photograph(tmp_path / "in" / "lake_2s.png")
    found = cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 16)
    entries = read_metadata(tmp_path / "out")
    assert len(entries) == 2 * 4 == found.clean
    expected = torch.from_numpy(image[16:32, 32:48] / 127.5 - 1).permute(2, 0, 1).float()
    torch.testing.assert_close(read_tile(tmp_path / "out" / "lake_2s_001_002.pt"), expected)
    assert validate_dataset_compatibility(tmp_path / "out", 16).counts["train"] == 8


def test_exposure_says_what_is_clean_and_where_nothing_does_training_refuses(tmp_path: Path) -> None:
    for name in ("a_10s", "a_0.1s", "b"):
        photograph(tmp_path / "in" / f"{name}.png", 16, 16)
    found = cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 16)
    clean = {e.id.rsplit("_", 2)[0]: e.clean for e in read_metadata(tmp_path / "out")}
    assert clean == {"a_10s": True, "a_0.1s": False, "b": None}
    assert "--clean-from 0" in str(found)
    with pytest.raises(DataError, match="b_000_000"):
        clean_entries(tmp_path / "out", "train")
    cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "all", 16, clean_from=0)
    assert len(clean_entries(tmp_path / "all", "train")) == 3
    validate_dataset_compatibility(tmp_path / "all")


def test_exposures_of_one_scene_are_in_the_same_split(tmp_path: Path) -> None:
    for scene in range(12):
        for exposure in ("0.1s", "10s"):
            photograph(tmp_path / "in" / f"{scene:05d}_{exposure}.png", 8, 8, scene)
    found = cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 8)
    assert found.counts == {"train": 20, "validation": 2, "test": 2}
    splits: dict[str, set[str]] = {}
    for entry in read_metadata(tmp_path / "out"):
        splits.setdefault(entry.id[:5], set()).add(entry.split)
    assert all(len(some) == 1 for some in splits.values())


def test_one_bad_photograph_is_set_aside_and_named(tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "good_1s.png", 16, 16)
    photograph(tmp_path / "in" / "small_1s.png", 15, 40)
    (tmp_path / "in" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    found = cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 16)
    assert sum(found.counts.values()) == 1
    assert ["small_1s" in found.set_aside[0], "torn.jpg" in found.set_aside[1]] == [True, True]
    with pytest.raises(DataError, match="lists tiles already"):
        cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 16)
    with pytest.raises(DataError, match=r"No photograph gave a tile: .*small_1s"):
        cut_tiles([tmp_path / "in" / "small_1s.png"], tmp_path / "other", 16)


def test_a_time_that_is_none_and_a_folder_that_is_a_file_are_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "a_1s.png", 16, 16)
    with pytest.raises(ConfigError, match="--clean-from -1 is no exposure time"):
        cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 16, clean_from=-1)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a file\. Name a folder that can be written"):
        cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "file", 16)


def test_names_that_would_meet_are_kept_apart_and_flat_places_left_out(tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "a b.png", 8, 8, 1)
    photograph(tmp_path / "in" / "a-b.png", 8, 8, 2)
    Image.new("RGB", (8, 16), "white").save(tmp_path / "in" / "sky.png")
    found = cut_tiles(photographs_at(tmp_path / "in"), tmp_path / "out", 8, clean_from=0)
    assert (found.clean, found.flat) == (2, 2)
    assert len({e.file for e in read_metadata(tmp_path / "out")}) == 2


def test_raw_files_on_the_command_line_give_linear_tiles_and_the_cameras_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rawpy")
    generator = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(2):
        signal = np.linspace(0.1, 0.9, 128)[None].repeat(128, 0)
        noisy = signal + generator.normal(size=signal.shape) * np.sqrt(0.002 * signal + 0.0001)
        (tmp_path / "in" / f"{number}.dng").write_bytes(dng(mosaic(noisy.clip(0, 1))))
    listing = tmp_path / "night.json"
    words = ["--restoration.tile_size", "32", "--restoration.metadata", str(listing), "--restoration.domain", "night"]
    with pytest.raises(SystemExit, match="0"):
        main(["restore", "tiles", str(tmp_path / "in"), str(tmp_path / "out"), *words])
    assert "OAML One R ISO 800: 2 photographs" in capsys.readouterr().out
    assert [e.domain for e in clean_entries(tmp_path / "out", "train", metadata=listing)] == ["night"] * 8
    noise = json.loads(listing.read_text())["cameras"]["OAML One R ISO 800"]
    # Green is the mean of two pixels; the estimate is over all three channels.
    assert 0.5 < (noise["a"] * 0.5 + noise["b"]) / (0.002 * 0.5 + 0.0001) < 1.1
