"""`docs/metrics.md` describes every key that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from oaml_core.config import Config, EvaluateConfig
from oaml_core.evaluation.comparison import compare, read_scores, write_scores
from oaml_core.evaluation.evaluate import evaluate_model
from oaml_core.evaluation.results import SCHEMA, metrics

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
    found = metrics(replace(evaluation, comparison=compare(other, stored, (0.1,))))
    text = DOCUMENT.read_text()
    documented = {part for name in re.findall(r"`([^`]+)`", text) for part in re.split(r"[.\s]", name)}
    written = {key for key in keys(found) if key not in CHOSEN and not key.startswith("val_accuracy_")}
    assert written - documented == set()
    assert f"`schema` is {SCHEMA};" in text
