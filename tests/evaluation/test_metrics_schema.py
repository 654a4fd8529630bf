"""`docs/metrics.md` describes every key that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from oaml_core.config import Config, EvaluateConfig
from oaml_core.evaluation.own_faces.folder import evaluate_folder
from oaml_core.evaluation.scoring.face_store import described
from oaml_core.evaluation.scoring.stored import read_scores, write_scores
from oaml_core.evaluation.verdict.comparison import compare
from oaml_core.evaluation.verdict.evaluate import evaluate_model
from oaml_core.evaluation.verdict.metrics_json import SCHEMA, metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
CHOSEN = {"patterns", "clean", "veil", "global", "local", "combined", "calibrated"}
"""Keys that are names of sets, conditions and scores."""


def keys(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from keys(value)
    elif isinstance(node, list) and node:
        yield from keys(node[0])


def test_every_key_is_documented(model, pairs, tmp_path):
    config = Config(evaluate=EvaluateConfig(occluders=("veil",), block_shares=(), sides=("second",), far=(0.1,)))
    evaluation = evaluate_model(model, {"patterns": pairs}, config, examples=0)
    write_scores(evaluation, tmp_path / "scores.npz")
    stored = read_scores(tmp_path / "scores.npz")
    other = {"patterns": stored["patterns"], "gone": stored["patterns"]}
    found = metrics(evaluation, comparison=compare(other, stored, (0.1,)))
    assert undocumented(found) == set()
    assert f"`schema` is {SCHEMA};" in DOCUMENT.read_text()


def test_every_key_of_a_folder_is_documented(model, pairs, tmp_path):
    images = pairs.images[:20]
    with described(model, images, 20, "cpu", tmp_path) as faces:
        found = evaluate_folder(faces, [""] * 20, np.arange(20) // 2, EvaluateConfig(far=(0.1,)))
    assert undocumented({"folder": found.as_json(), "set_aside": []}) == set()


def undocumented(found: dict[str, object]) -> set[str]:
    documented = {part for name in re.findall(r"`([^`]+)`", DOCUMENT.read_text()) for part in re.split(r"[.\s]", name)}
    chosen = {str(key) for key in keys(found)} - CHOSEN - documented
    return {key for key in chosen if not key.isdigit() and not key.startswith("val_accuracy_")}
