"""What training says of clean tiles that it does not learn from."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_tiles import write_folder

from oaml_core.config.restoration import RestorationConfig
from oaml_core.errors import ConfigError
from oaml_core.restoration import prior_training
from oaml_core.restoration.prior import Prior
from oaml_core.restoration.tile_shards import TileShards, write_shards
from oaml_core.restoration.validation import ValidationTiles, spread, validation_shards
from oaml_core.restoration.worker import open_validation_tiles, train_as_worker
from oaml_core.settings import load_config
from oaml_core.training.loop import Interrupted

WORDS = [
    *("--restoration.tile_size", "16", "--restoration.model_channels", "4", "--restoration.channel_mult", "[1, 2]"),
    *("--restoration.num_blocks", "1", "--restoration.attention_levels", "[]", "--restoration.batch", "4"),
    *("--restoration.total_kimg", "0.016", "--restoration.kimg_per_tick", "0.008", "--data.num_workers", "0"),
    *("--restoration.tiles", "tiles", "--tracking.wandb", "off"),
]


def shards(tmp_path: Path, held: int, **more: Any) -> Path:
    rows = [{"id": f"t{i}", "is_clean": True, **more} for i in range(8)]
    rows += [{"id": f"v{i}", "is_clean": True, "split": "validation", **more} for i in range(held)]
    write_shards(write_folder(tmp_path / "tiles", rows), tmp_path / "shards")
    return tmp_path / "shards"


def lines_of_training(tmp_path: Path, caplog: pytest.LogCaptureFixture, held: int, *words: str) -> list[str]:
    config = load_config(None, [*WORDS, "--work_dir", str(tmp_path), "--store", str(tmp_path / "store"), *words])
    with caplog.at_level(logging.INFO):
        train_as_worker(config, shards(tmp_path, held), tmp_path / "run", "priors/a")
    return [r.getMessage() for r in caplog.records if " kimg  loss " in r.getMessage()]


def test_every_tick_says_how_well_held_out_tiles_are_denoised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oaml_core.training.checkpoints import read_checkpoint

    seen: list[dict[str, float]] = []
    monkeypatch.setattr("oaml_core.tracking.Tracker.log", lambda self, step, metrics: seen.append(metrics))
    lines = lines_of_training(tmp_path, caplog, held=3)
    assert len(lines) == 2
    assert all("validation: σ 0.05 → " in line for line in lines)
    prior = Prior(load_config(None, WORDS).restoration, 0)
    prior.load_state_dict(read_checkpoint(next((tmp_path / "run").rglob("best.ckpt")))["ema"])
    held = validation_shards(TileShards(tmp_path / "shards", "validation"), (), 16, 8)
    assert held is not None
    expected = held.metrics(prior.eval())
    assert {key: seen[-1][key] for key in expected} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("held", "wanted"), [(0, "16"), (3, "0")])
def test_without_held_out_tiles_or_the_wish_training_says_nothing_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, held: int, wanted: str
) -> None:
    lines = lines_of_training(tmp_path, caplog, held, "--restoration.validation_tiles", wanted)
    assert len(lines) == 2
    assert not any("validation" in line for line in lines)


def test_a_denoiser_that_changes_nothing_has_the_psnr_of_the_noise() -> None:
    class Nothing(Prior):
        def forward(self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
            return x

    tiles = torch.rand((20, 3, 16, 16), generator=torch.Generator().manual_seed(0)) - 0.5
    prior = Nothing(RestorationConfig(model_channels=4, num_blocks=1), 0)
    found = ValidationTiles(tiles, torch.zeros(20, 0)).metrics(prior)
    for level in (0.05, 0.2):
        assert found[f"validation_psnr_{level}"] == pytest.approx(20 * np.log10(2 / level), abs=0.1)
    assert found["validation_ssim_0.05"] > found["validation_ssim_0.2"] > found["validation_ssim_0.5"]


def test_tiles_of_a_domain_that_the_prior_has_not_learnt_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"id": f"{d}{i}", "is_clean": True, "split": "validation", "domain": d} for d in ("sky", "sea") for i in (1, 2)
    ]
    rows.append({"id": "t", "is_clean": True, "domain": "sea"})
    write_shards(write_folder(tmp_path / "t", rows), tmp_path / "s")
    held = TileShards(tmp_path / "s", "validation")
    found = validation_shards(held, ("land", "sea"), 8, 10)
    assert found is not None
    assert found.tiles.shape == (2, 3, 8, 8)
    assert found.labels.tolist() == [[0, 1], [0, 1]]
    assert validation_shards(held, ("land",), 8, 10) is None


def test_validation_faces_are_others_than_those_that_are_evaluated(tmp_path: Path) -> None:
    from types import SimpleNamespace

    images = np.zeros((60, 24, 24, 3), dtype=np.uint8)
    images[spread(60, 8)] = 255
    prepared = SimpleNamespace(verification={"lfw": SimpleNamespace(images=images)})
    from oaml_core.restoration.validation import validation_faces

    found = validation_faces(prepared, 16, 8, 8)  # type: ignore[arg-type]
    assert found is not None
    assert found.tiles.shape == (8, 3, 16, 16)
    assert found.tiles.max() == -1
    assert validation_faces(prepared, 16, 8, 60) is None  # type: ignore[arg-type]
    assert validation_faces(SimpleNamespace(verification={}), 16, 8, 8) is None  # type: ignore[arg-type]


def test_the_number_of_validation_tiles_is_not_negative(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"restoration\.validation_tiles"):
        load_config(None, ["--restoration.validation_tiles", "-1"])
    config = load_config(None, [*WORDS, "--restoration.validation_tiles", "2"])
    assert open_validation_tiles(config, shards(tmp_path, 5), ()) is not None


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [(3, 16, [0, 1, 2]), (10, 4, [0, 3, 6, 9]), (5, 5, [0, 1, 2, 3, 4]), (1, 3, [0]), (9, 1, [0]), (0, 4, [])],
)
def test_a_spread_takes_all_where_there_are_few(total: int, count: int, expected: list[int]) -> None:
    assert spread(total, count) == expected


@pytest.mark.parametrize(("place", "steps"), [("validation", 2), ("step", 1)])
def test_sigterm_ends_training_amid_a_validation_and_amid_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, steps: int
) -> None:
    """Tiles are held out every two steps; a step has four parts. Both may take minutes on a large network."""
    seen: list[str] = []
    denoise, learn = Prior.forward, prior_training.training_step

    def denoised(self: Prior, *given: torch.Tensor) -> torch.Tensor:
        if not self.training and place == "validation":
            seen.append("validation")
            signal.raise_signal(signal.SIGTERM)
        return denoise(self, *given)

    def learnt(*given: Any) -> torch.Tensor:
        seen.append("part")
        if place == "step" and len(seen) == 6:  # the second part of the second step
            signal.raise_signal(signal.SIGTERM)
        return learn(*given)

    monkeypatch.setattr(Prior, "forward", denoised)
    monkeypatch.setattr(prior_training, "training_step", learnt)
    words = [*WORDS, "--restoration.batch_gpu", "1", "--work_dir", str(tmp_path), "--store", str(tmp_path / "store")]
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Interrupted):
            train_as_worker(load_config(None, words), shards(tmp_path, 3), tmp_path / "run", "priors/a")
    finally:
        signal.signal(signal.SIGTERM, before)
    parts = {"validation": [*["part"] * 8, "validation"], "step": ["part"] * 6}
    assert seen == parts[place]
    (kept,) = [path.stem for path in (tmp_path / "run").rglob("step-*.ckpt")]
    assert int(kept.removeprefix("step-")) == steps
