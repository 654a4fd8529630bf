"""The model card says how the model did, and where nothing was measured it says that."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from oaml_core.config import Config
from oaml_core.export.model_card import model_card


@pytest.fixture
def metadata():
    return {
        "arch": "ir_50",
        "config": asdict(Config(name="faces")),
        "config_digest": "d1",
        "fingerprint": "f00d",
        "image_size": 112,
        "preprocessing": True,
        "opset": 20,
        "licence": "that of the training data",
        "thresholds": {"global": {"0.001": 0.31}, "combined": {}},
    }


def test_results_thresholds_and_provenance_are_on_it(metadata):
    scores = {name: {"accuracy": 0.9876, "accuracy_std": 0.01} for name in ("global", "local", "combined")}
    metrics = {"sets": {"lfw": {"pairs": 6000, "conditions": {"surgical": {"scores": scores}}}}}

    card = model_card(metadata, metrics)

    for expected in (
        "# faces",
        "ir_50",
        "f00d",
        "| lfw (6,000 pairs) | surgical | 98.76 ± 1.00",
        "| global | 0.001 | 0.3100 |",
    ):
        assert expected in card


def test_what_was_not_measured_is_said(metadata):
    card = model_card(metadata | {"thresholds": {}, "fingerprint": None})
    assert "It was not evaluated." in card
    assert "No threshold was measured" in card
    assert "not stated" in card
