"""Stages beyond what the pipeline's own tests run: the promotion gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.stages.promote_stage import GATE_METRIC


def measured(folder: Path, name: str, accuracy: float, verification: str = "lfw") -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"headline": {GATE_METRIC: accuracy}, "sets": {verification: {}}}))
    return str(path)


def test_only_a_model_that_is_not_worse_on_the_same_sets_goes_into_production(tmp_path: Path) -> None:
    config = replace(Config(), store=str(tmp_path / "store"))
    pointer = tmp_path / "store" / stages.PRODUCTION

    def production() -> str:
        return json.loads(pointer.read_text())["model_uri"]

    first = stages.promote(config, "first", measured(tmp_path, "first", 0.95))
    assert first.promoted
    worse = stages.promote(config, "worse", measured(tmp_path, "worse", 0.94))
    assert not worse.promoted
    assert "0.9400 is below its 0.9500" in worse.reason
    other = stages.promote(config, "other", measured(tmp_path, "other", 0.99, "agedb_30"))
    assert not other.promoted
    assert "cannot be compared" in other.reason
    assert production() == "first"
    better = stages.promote(config, "better", measured(tmp_path, "better", 0.96))
    assert better.promoted
    assert production() == "better"
    assert better.version != first.version
