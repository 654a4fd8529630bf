"""What validation measures: uncovered pairs, and covered ones where the configuration wants them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from oaml_core.config import Config, ModelConfig
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.errors import ConfigError
from oaml_core.models.recogniser import build_recogniser
from oaml_core.training.validation import validate
from oaml_core.training.world import World


@pytest.fixture
def pairs() -> VerificationSet:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (80, 112, 112, 3), dtype=np.uint8)
    return VerificationSet("drawn", images, np.tile([True, False], 20), None)


def measured(pairs: VerificationSet, *occluders: str) -> dict[str, float]:
    config = Config()
    config = replace(config, train=replace(config.train, validation_occluders=occluders))
    torch.manual_seed(0)
    model = build_recogniser(ModelConfig(arch="ir_mini", width=4))
    return validate(model, {"drawn": pairs}, config, World(0, 1, 0, 1), torch.device("cpu")).accuracies


def test_covered_pairs_count_beside_the_uncovered_ones(pairs: VerificationSet) -> None:
    plain, both = measured(pairs), measured(pairs, "surgical", "sunglasses")

    scores = ("global", "local", "combined")
    assert set(plain) == {"val_acc", *(f"val/drawn/{score}" for score in scores)}
    added = {f"val/drawn/{kind}/{score}" for kind in ("surgical", "sunglasses") for score in scores}
    assert set(both) == set(plain) | added
    assert all(both[key] == plain[key] for key in plain if key != "val_acc")
    combined = [both[f"val/drawn/{kind}combined"] for kind in ("", "surgical/", "sunglasses/")]
    assert both["val_acc"] == pytest.approx(np.mean(combined))
    assert plain["val_acc"] == plain["val/drawn/combined"]


def test_an_unknown_occluder_is_refused_by_its_key() -> None:
    config = Config()
    with pytest.raises(ConfigError, match=r"train\.validation_occluders.*'surgica' is no occluder.*surgical"):
        replace(config, train=replace(config.train, validation_occluders=("surgica",)))
