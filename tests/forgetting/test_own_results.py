"""A person is found in what evaluations of files leave: images and matrices here, parts of shards in the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forgetting.conftest import NAME, OTHERS, Planted
from untrained import write_untrained

from oaml_core import stages
from oaml_core.config import Config, DataConfig, EvaluateConfig, ModelConfig
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.forgetting.forget import Forgotten, forget
from oaml_core.models.build import build_backbone
from oaml_core.stages.evaluate_backbone import evaluate_backbone, evaluate_backbone_shard


@pytest.fixture
def config(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Settings of small evaluations; four images are described together, so that shards have some to share."""
    for module in ("scoring.face_store", "own_faces.descriptions"):
        monkeypatch.setattr(f"oaml_core.evaluation.{module}.RUN", 4)
    chosen = EvaluateConfig(far=(0.1,), occluders=(), block_shares=(), pictures=4)
    return replace(planted.config, model=ModelConfig(arch="ir_mini", width=4), evaluate=chosen)


@pytest.fixture
def checkpoint(config: Config, tmp_path: Path) -> str:
    path = tmp_path / "source" / "model.ckpt"  # not among what is searched
    return str(write_untrained(config, path))


def found_in(done: Forgotten, place: str) -> list[str]:
    (items,) = ([item.where for item in each.found] for each in done.searched if each.place == place)
    return items


def of_one(planted: Planted, name: str) -> str:
    """A folder with the faces of one person, and of another one who is nobody's to be forgotten."""
    folder = planted.work.parent / "source" / f"of {name}"
    for number, person in enumerate((name, OTHERS[0])):
        for path in (planted.work.parent / "source" / "faces" / person).iterdir():
            target = folder / f"p{number}" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return str(folder)


def flat(planted: Planted) -> DataConfig:
    """Settings of pairs without names in any path, so that they are no data set to train on."""
    source = planted.work.parent / "source"
    folder, text = source / "flat", (source / "pairs" / "named_pairs.csv").read_text()
    folder.mkdir()
    for number, path in enumerate(sorted((source / "pairs" / "named").rglob("*.jpg"))):
        (folder / f"{number}.jpg").write_bytes(path.read_bytes())
        text = text.replace(path.relative_to(source / "pairs").as_posix(), f"{number}.jpg")
    (folder / "flat_pairs.csv").write_text(text)
    return replace(planted.config.data, source=str(folder), verification_source=None)


@pytest.mark.parametrize("named", [True, False])
def test_all_that_an_evaluation_of_faces_left_here_goes(
    planted: Planted, config: Config, checkpoint: str, named: bool
) -> None:
    source = str(planted.work.parent / "source" / "faces") if named else of_one(planted, NAME)
    mine = stages.evaluate_own_faces(config, source, checkpoint).folder
    others = stages.evaluate_own_faces(config, of_one(planted, OTHERS[1]), checkpoint).folder
    done = forget(planted.case(NAME), apply=True)
    assert found_in(done, "evaluations of files") == [str(mine)]
    assert not mine.exists()
    assert others.exists()
    assert not forget(planted.case(NAME)).found


def test_images_of_pair_lists_and_the_report_of_weights_go(planted: Planted, config: Config, checkpoint: str) -> None:
    source = planted.work.parent / "source"
    mine = stages.evaluate_own_faces(config, str(source / "pairs"), checkpoint).folder
    weights = source / "published.pth"
    torch.save({"state_dict": build_backbone("ir_mini", width=4).state_dict()}, weights)
    report = evaluate_backbone(replace(config, data=flat(planted)), None, weights).report
    kept = evaluate_backbone(config, planted.dataset_uri, weights).report
    forget(planted.case(NAME), apply=True)
    assert not mine.exists()
    assert not report.exists()
    assert list((planted.work / "sets").iterdir()) == []
    assert kept.exists(), "of a data set: its pairs with her are removed, and no others"


def test_features_that_a_killed_process_left_go(planted: Planted) -> None:
    left = planted.work / "own" / "faces-0" / ".faces-abc" / "maps"
    left.parent.mkdir(parents=True)
    np.zeros(8, np.float32).tofile(left)
    forget(planted.case(NAME), apply=True)
    assert not left.parent.exists()


@pytest.mark.parametrize(
    ("whose", "goes"), [(NAME, True), (OTHERS[1], False)], ids=["shows the person", "shows others"]
)
def test_descriptions_of_a_folder_by_shards_go_with_all_that_was_made_of_them(
    planted: Planted, config: Config, checkpoint: str, whose: str, goes: bool
) -> None:
    stages.evaluate_own_faces_shard(config, of_one(planted, whose), checkpoint, "0/2")
    before = [info.key for info in planted.store.list(f"{SHARDS}/")]
    assert {key.rpartition("/")[2][:9] for key in before} == {"described", "all-pairs", "searches-"}
    done = forget(planted.case(NAME), apply=True)
    assert [info.key for info in planted.store.list(f"{SHARDS}/")] == ([] if goes else before)
    assert bool(found_in(done, "shared work")) is goes


@pytest.mark.parametrize("kind", ["pair lists", "weights"])
def test_scores_of_pairs_that_do_not_say_whom_they_show_go(
    planted: Planted, config: Config, checkpoint: str, kind: str
) -> None:
    source = planted.work.parent / "source"
    if kind == "pair lists":
        stages.evaluate_own_faces_shard(config, str(source / "pairs"), checkpoint, "0/2")
    else:
        weights = source / "published.pth"
        torch.save({"state_dict": build_backbone("ir_mini", width=4).state_dict()}, weights)
        evaluate_backbone_shard(replace(config, data=flat(planted)), None, weights, "0/2")
    assert list(planted.store.list(f"{SHARDS}/"))
    forget(planted.case(NAME), apply=True)
    assert not list(planted.store.list(f"{SHARDS}/"))


def test_a_matrix_that_cannot_be_read_goes(planted: Planted, config: Config, checkpoint: str) -> None:
    mine = stages.evaluate_own_faces(config, of_one(planted, OTHERS[1]), checkpoint).folder
    (mine / "similarity.npz").write_bytes(b"PK cut off")
    forget(planted.case(NAME), apply=True)
    assert not mine.exists()
