"""The sheet of samples shows what training sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.cli import main
from oaml_core.config import AugmentConfig, Config
from oaml_core.data.batches.sample_sheet import write_sample_sheet
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.store import open_store

TILE = 114


@pytest.fixture
def made(config: Callable[..., Config], image_folder: Path) -> Config:
    return config(image_folder)


@pytest.fixture
def dataset(made: Config, tmp_path: Path) -> PreparedDataset:
    return fetch_prepared(prepare_dataset(made, open_store(made.store)).uri, tmp_path / "prepared")


def sheet(config: Config, dataset: PreparedDataset, path: Path, count: int, **augment: float) -> np.ndarray:
    config = replace(config, augment=AugmentConfig(**augment))  # type: ignore[arg-type]
    write_sample_sheet(config, dataset, path, count)
    with Image.open(path) as image:
        return np.asarray(image)


def test_rows_are_before_after_and_mask(made: Config, dataset: PreparedDataset, tmp_path: Path) -> None:
    shown = sheet(made, dataset, tmp_path / "new" / "samples.png", 5, flip_prob=0.0, mask_prob=1.0)
    assert shown.shape == (3 * TILE, 5 * TILE, 3)
    before, after, mask = (shown[row * TILE : row * TILE + 112] for row in range(3))
    assert (before[mask == 255] == after[mask == 255]).all()
    for column in range(5):
        tile = slice(column * TILE, column * TILE + 112)
        assert (mask[:, tile] == 0).any(), "an occluder is on every face"
        assert (before[:, tile] != after[:, tile]).any()


def test_what_is_shown_repeats_no_image_and_leaves_no_other_file(
    made: Config, dataset: PreparedDataset, tmp_path: Path
) -> None:
    folder = tmp_path / "sheets"
    count = len(dataset.train)
    shown = sheet(made, dataset, folder / "samples.png", 100, flip_prob=0.0, mask_prob=0.0)
    assert shown.shape == (3 * TILE, count * TILE, 3)
    assert len({shown[:112, n * TILE : n * TILE + 112].tobytes() for n in range(count)}) == count
    assert [path.name for path in folder.iterdir()] == ["samples.png"]


def test_visibility_batches_have_rows_of_their_own(made: Config, dataset: PreparedDataset, tmp_path: Path) -> None:
    data = replace(made.data, visibility_batch_size=4, visibility_clean_share=0.5)
    shown = sheet(replace(made, data=data), dataset, tmp_path / "samples.png", 4, flip_prob=0.0, mask_prob=0.0)
    assert shown.shape == (6 * TILE, 4 * TILE, 3)
    masks = shown[5 * TILE : 5 * TILE + 112]
    visible = [(masks[:, n * TILE : n * TILE + 112] == 255).all() for n in range(4)]
    assert sum(visible) == 2


def test_the_same_seed_writes_the_same_sheet(made: Config, dataset: PreparedDataset, tmp_path: Path) -> None:
    one, again = (sheet(made, dataset, tmp_path / f"{name}.png", 4) for name in "ab")
    np.testing.assert_array_equal(one, again)


def test_the_command_says_where_the_sheet_is(made: Config, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--store", made.store, "--work_dir", made.work_dir, "--data.source", str(made.data.source)]
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "inspect",
                *where,
                "--data.num_instances",
                "2",
                "--data.batch_size",
                "4",
                "--data.held_out_share",
                "0",
                "--count",
                "3",
            ]
        )
    assert ended.value.code == 0
    path = Path(capsys.readouterr().out.strip())
    with Image.open(path) as image:
        assert image.size == (3 * TILE, 3 * TILE)
