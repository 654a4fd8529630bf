"""Shards of an evaluation are merged only where all of them had the same files, whatever these are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import write_untrained

from oaml_core import stages
from oaml_core.config import Config, DataConfig, EvaluateConfig, ModelConfig
from oaml_core.data.augment.cutouts import open_cutouts
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring import shard
from oaml_core.models.build import build_backbone
from oaml_core.stages.evaluate_backbone import evaluate_backbone, evaluate_backbone_shard
from tests.data_layer.conftest import face


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "CHUNK", 4)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Images of four people, and a list of ten pairs of them."""
    folder = tmp_path / "faces"
    for person in range(4):
        (folder / f"p{person}").mkdir(parents=True)
        for number in range(3):
            (folder / f"p{person}" / f"{number}.jpg").write_bytes(encode_jpeg(face(100 * person + number)))
    names = [f"p{person}/{number}.jpg" for number in range(3) for person in range(4)]
    pairs = [pair for k in range(5) for pair in ((names[k], names[k + 4]), (names[k], names[k + 5]))]
    lines = [f"{one},{other},{int(one[:2] == other[:2])}" for one, other in pairs]
    (folder / "own_pairs.csv").write_text("\n".join(["first,second,same", *lines]) + "\n")
    return folder


def cutout(colour: int) -> Image.Image:
    """Return a mask of one colour."""
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[5:35, 5:55] = (colour, 90, 200, 255)
    return Image.fromarray(pixels)


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """A folder of masks, of which some are held out."""
    folder = tmp_path / "cutouts"
    (folder / "mask").mkdir(parents=True)
    for number in range(24):
        cutout(10 * number).save(folder / "mask" / f"{number}.png")
    return folder


@pytest.fixture
def settings(faces: Path, tmp_path: Path) -> Callable[..., Config]:
    def made(occluders: Path | None = None, **data: object) -> Config:
        conditions = ("cutout:mask",) if occluders else ()
        return replace(
            Config(),
            store=str(tmp_path / "store"),
            work_dir=str(tmp_path / "work"),
            data=DataConfig(
                source=str(faces), num_workers=0, occluders=None if occluders is None else str(occluders), **data
            ),
            model=ModelConfig(arch="ir_mini", width=4),
            evaluate=EvaluateConfig(occluders=conditions, block_shares=(), sides=("second",), far=(0.1,), pictures=0),
        )

    return made


def change(folder: Path) -> None:
    """Give a held-out file of a folder other content under the same name."""
    open_cutouts.cache_clear()
    path = open_cutouts(folder).of("mask", "test")[0]
    picture = np.array(Image.open(path))
    picture[15:20, 10:50, :3] = 255 - picture[15:20, 10:50, :3]
    Image.fromarray(picture).save(path)
    open_cutouts.cache_clear()


@pytest.mark.parametrize("kind", ["checkpoint", "backbone"])
def test_shards_under_other_cutouts_of_the_same_name_are_not_merged(
    kind: str, settings: Callable[..., Config], cutouts: Path, tmp_path: Path
) -> None:
    config = settings(cutouts)
    torch.manual_seed(0)
    if kind == "checkpoint":
        model = str(write_untrained(config, tmp_path / "best.ckpt"))
        dataset = stages.prepare(config).dataset_uri
        score = lambda one: stages.evaluate_shard(config, dataset, model, one)  # noqa: E731
        merge = lambda: stages.evaluate(config, dataset, model, shards=2, only_merge=True)  # noqa: E731
    else:
        path = tmp_path / "published.pth"
        torch.save({"state_dict": build_backbone("ir_mini", width=4).state_dict()}, path)
        dataset = stages.prepare(config).dataset_uri
        score = lambda one: evaluate_backbone_shard(config, dataset, path, one)  # noqa: E731
        merge = lambda: evaluate_backbone(config, dataset, path, shards=2, only_merge=True)  # noqa: E731
    assert score("0/2")
    change(cutouts)
    assert score("0/2"), "what was scored under other cut-outs does not count"
    assert score("1/2")
    before = merge()
    change(cutouts)
    score("1/2")
    with pytest.raises(EvaluationError, match="is missing: 1 of 2"):
        merge()
    score("0/2")
    assert not getattr(merge(), "reused", False)
    assert before is not None


def test_a_kind_of_cutouts_that_no_condition_names_changes_nothing(
    settings: Callable[..., Config], cutouts: Path, tmp_path: Path
) -> None:
    config = settings(cutouts)
    model = str(write_untrained(config, tmp_path / "best.ckpt"))
    dataset = stages.prepare(config).dataset_uri
    assert stages.evaluate_shard(config, dataset, model, "0/2")
    (cutouts / "hand").mkdir()
    cutout(7).save(cutouts / "hand" / "new.png")
    assert not stages.evaluate_shard(config, dataset, model, "0/2")


def test_shards_of_other_images_that_a_list_names_are_not_merged(
    settings: Callable[..., Config], faces: Path, tmp_path: Path
) -> None:
    """The source of verification sets alone is read as it is: the list's own content says nothing of its images."""
    for number in range(3):  # no folder per identity: nothing to train on
        for person in range(4):
            (faces / f"p{person}" / f"{number}.jpg").rename(faces / f"{person}{number}.jpg")
        text = (faces / "own_pairs.csv").read_text()
        for person in range(4):
            text = text.replace(f"p{person}/{number}.jpg", f"{person}{number}.jpg")
        (faces / "own_pairs.csv").write_text(text)
    for person in range(4):
        (faces / f"p{person}").rmdir()
    config = settings()
    torch.manual_seed(0)
    path = tmp_path / "published.pth"
    torch.save({"state_dict": build_backbone("ir_mini", width=4).state_dict()}, path)
    assert evaluate_backbone_shard(config, None, path, "0/2")
    assert not evaluate_backbone_shard(config, None, path, "0/2")
    (faces / "00.jpg").write_bytes(encode_jpeg(face(977)))
    assert evaluate_backbone_shard(config, None, path, "1/2")
    with pytest.raises(EvaluationError, match="is missing: 1 of 2"):
        evaluate_backbone(config, None, path, shards=2, only_merge=True)
