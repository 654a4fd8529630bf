"""Training a prior as a user does: real commands, workers, checkpoints; then restoring with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_tiles import write_folder

from oaml_core.cli import main
from oaml_core.errors import CheckpointError, ConfigError
from oaml_core.restoration.ema import MovingAverage
from oaml_core.restoration.prior import Prior, load_prior
from oaml_core.settings import load_config
from oaml_core.store import open_store
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.keeper import CheckpointKeeper
from tests.training.killed_sending import killed_while_sending

RECIPE = """
name: tiny
data: {num_workers: 0}
tracking: {wandb: "off"}
restoration:
  {tile_size: 8, model_channels: 4, channel_mult: [1, 2], num_blocks: 1, attention_levels: [1], dropout: 0.0, batch: 6,
   total_kimg: 0.048, kimg_per_tick: 0.012, snapshot_ticks: 1, lr_rampup_kimg: 0, steps: 3, samples: 2, test_tiles: 2}
"""


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"id": f"t{i}", "is_clean": True, "split": "test" if i > 16 else "train"} for i in range(20)]
    return write_folder(tmp_path_factory.mktemp("tiles") / "t", rows)


def command(folder: Path, tiles: Path, *words: str) -> list[str]:
    recipe = folder / "recipe.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(RECIPE)
    places = ["--store", str(folder / "store"), "--work_dir", str(folder / "work"), "--restoration.tiles", str(tiles)]
    return ["restore", words[0], *words[1:], "--config", str(recipe), *places]


def run(folder: Path, tiles: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(command(folder, tiles, *words))
    return int(end.value.code or 0)


def checkpoint(folder: Path) -> Path:
    return next((folder / "work" / "priors").glob("*/checkpoints/best.ckpt"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiles: Path) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert run(folder, tiles, "train", "--launcher", "none") == 0
    return folder


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(tmp_path: Path, tiles: Path, alone: Path) -> None:
    assert run(tmp_path, tiles, "train", "--launcher", "none", "--restoration.total_kimg", "0.024") == 0
    short = checkpoint(tmp_path).parent.parent
    # The run's folder is named after its length; its checkpoints serve the longer one.
    whole = tmp_path / "work" / "priors" / next((alone / "work" / "priors").iterdir()).name
    short.rename(whole)
    (whole / "result.json").unlink()
    assert run(tmp_path, tiles, "train", "--launcher", "none") == 0
    ours, theirs = (read_checkpoint(checkpoint(folder)) for folder in (tmp_path, alone))
    assert ours["position"] == theirs["position"]
    for key, value in theirs["ema"].items():
        torch.testing.assert_close(ours["ema"][key], value)


def test_the_last_checkpoint_is_sent_at_the_next_start(
    tmp_path: Path, tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert killed_while_sending(8, command(tmp_path, tiles, "train", "--launcher", "none")) == -9
    store, last = open_store(str(tmp_path / "store")), "step-0000000008.ckpt"
    here = next((tmp_path / "work" / "priors").glob(f"*/checkpoints/{last}"))
    prefix = here.parent.relative_to(tmp_path / "work").as_posix()
    assert not store.exists(f"{prefix}/{last}")
    assert len(store.unfinished(f"{prefix}/")) == 1
    save, sent = CheckpointKeeper.save, []

    def saved(keeper: CheckpointKeeper, *arguments: Any, **options: Any) -> None:
        keeper.wait()  # the end is saved once more; what was sent before that was sent at the start
        sent.append(store.exists(f"{prefix}/{last}"))
        save(keeper, *arguments, **options)

    monkeypatch.setattr(CheckpointKeeper, "save", saved)
    assert run(tmp_path, tiles, "train", "--launcher", "none") == 0
    assert sent == [True]
    assert json.loads(store.read_bytes(f"{prefix}/last.json"))["name"] == last
    store.get_file(f"{prefix}/{last}", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == here.read_bytes()
    assert store.unfinished(f"{prefix}/") == []


def test_two_workers_learn_what_one_does(tmp_path: Path, tiles: Path, alone: Path) -> None:
    assert run(tmp_path, tiles, "train", "--train.nproc", "2") == 0
    ours, theirs = (read_checkpoint(checkpoint(folder))["prior"] for folder in (tmp_path, alone))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-4)


def test_other_tiles_are_refused(tmp_path: Path, tiles: Path, alone: Path) -> None:
    from oaml_core.restoration.prior_training import PriorLoop
    from oaml_core.restoration.tiles import TileFolder
    from oaml_core.training.keeper import CheckpointKeeper
    from oaml_core.training.world import World

    keeper = CheckpointKeeper(checkpoint(alone).parent, None, "", 3)
    config = load_config(alone / "recipe.yaml")
    loop = PriorLoop(config, TileFolder(tiles, "train"), "another", tmp_path, keeper, World(0, 1, 0, 1))
    with pytest.raises(CheckpointError, match="other tiles"):
        loop.run()


def test_evaluation_reports_every_exposure(alone: Path, tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(alone, tiles, "evaluate", "--checkpoint", str(checkpoint(alone))) == 0
    report = Path(capsys.readouterr().out.splitlines()[-1])
    rows = json.loads(report.with_name("restoration.json").read_text())["rows"]
    assert {row["condition"] for row in rows} == {"light", "medium", "dark", "covered"}
    assert all(np.isfinite(row["psnr"]) for row in rows)
    assert any(".evaluate-prior." in path.name for path in (alone / "store" / "costs").rglob("*.json"))
    page = report.read_text()
    assert page.count("<img ") == 4 * 2 * 4
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_an_image_is_restored_with_its_uncertainty(
    alone: Path, tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, mask = tmp_path / "a.png", tmp_path / "mask.png"
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (21, 30, 3), dtype=np.uint8)).save(picture)
    Image.fromarray(np.full((21, 30), 255, dtype=np.uint8)).save(mask)
    words = ["apply", str(picture), "--checkpoint", str(checkpoint(alone)), "--mask", str(mask), "--out", str(tmp_path)]
    assert run(alone, tiles, *words) == 0
    said = capsys.readouterr().out
    assert "noise variance" in said
    for what in ("restored", "uncertainty"):
        assert Image.open(tmp_path / f"a_{what}.png").size == (30, 21)


def test_a_recognisers_checkpoint_is_no_prior(alone: Path, tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"config": "", "module": {}}, alone / "other.ckpt")
    assert run(alone, tiles, "evaluate", "--checkpoint", str(alone / "other.ckpt")) == 1
    assert "no checkpoint of a prior" in capsys.readouterr().err


def test_tiles_that_cannot_be_halved_are_refused_by_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"restoration\.tile_size 30"):
        load_config(None, ["--restoration.tile_size", "30"])


def test_a_fresh_network_predicts_nothing_so_that_the_denoiser_only_shrinks() -> None:
    config = load_config(None, ["--restoration.model_channels", "8", "--restoration.num_blocks", "1"]).restoration
    prior = Prior(config, label_dim=2).eval()
    x = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    out = prior(x, torch.tensor([0.5, 5.0]), torch.eye(2))
    torch.testing.assert_close(out[0], x[0] * 0.5)
    torch.testing.assert_close(out[1], x[1] * 0.25 / 25.25)


def test_the_average_forgets_half_in_a_half_life() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    average = MovingAverage(module, halflife_images=1000, rampup_ratio=0)
    torch.nn.init.ones_(module.weight)
    for step in range(10):
        average.update(module, 100 * step, 100)
    assert average.module.weight.item() == pytest.approx(0.5)
    early = MovingAverage(torch.nn.Linear(1, 1, bias=False), halflife_images=1000, rampup_ratio=0.05)
    early.update(module, 100, 100)
    assert early.module.weight.item() == pytest.approx(1, abs=1e-5)


def test_a_loaded_prior_is_the_average_and_ready_to_sample(alone: Path) -> None:
    loaded, state = load_prior(checkpoint(alone)), read_checkpoint(checkpoint(alone))
    assert loaded.images_seen == 48
    assert not loaded.prior.training
    assert all(torch.equal(value, state["ema"][key]) for key, value in loaded.prior.state_dict().items())
