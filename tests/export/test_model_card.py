"""The model card says how the model did, and where nothing was measured it says that."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from oaml_core.config import Config
from oaml_core.export.model_card import model_card
from oaml_core.stages import export_stage


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


def test_a_card_says_that_its_faces_were_drawn_only_where_they_were(metadata):
    said = "All faces were drawn"
    assert said in model_card(metadata | {"checked_on": {"set": "drawn", "pairs": 4, "drawn": True}})
    assert said not in model_card(metadata | {"checked_on": {"set": "lfw", "pairs": 4, "drawn": False}})
    assert said not in model_card(metadata)


@pytest.mark.parametrize(
    ("checked", "told"),
    [
        ({"set": "drawn", "pairs": 4, "drawn": True}, "4 pairs of drawn faces"),
        ({"set": "lfw", "pairs": 60, "drawn": False}, "60 pairs of the set lfw"),
        (None, "checked against torch"),
    ],
)
def test_the_export_names_the_faces_that_it_checked_on(checked, told):
    record = {"variants": {}} | ({} if checked is None else {"checked_on": checked})
    assert export_stage._told(record).endswith(told)


def test_results_thresholds_and_provenance_are_on_it(metadata):
    point = {"far": 0.001, "measurable": True, "tar": 0.954, "interval": [0.94, 0.96]}
    score = {"accuracy": 0.9876, "accuracy_interval": [0.98, 0.99], "tar_at_far": [point]}
    scores = dict.fromkeys(("global", "local", "combined"), score)
    conditions = {name: {"covered_share": share, "scores": scores} for name, share in (("clean", 0.0), ("veil", 0.7))}
    counts = {"pairs": 6000, "impostors": 3000, "identities": {"count": 4281}}
    metrics = {"sets": {"lfw": {**counts, "conditions": conditions}}}

    card = model_card(metadata, metrics)

    for expected in (
        "# faces",
        "ir_50",
        "f00d",
        "| lfw (6,000 pairs of 4,281 people) | veil | 70 % | 98.76 (98.00 … 99.00)",
        "3,000 of them impostors",
        "| global | 0.001 | 0.3100 | 95.4 (94.0 … 96.0) |",
        "far=0.001)",
    ):
        assert expected in card


def test_what_was_not_measured_is_said(metadata):
    card = model_card(metadata | {"thresholds": {}, "fingerprint": None})
    assert "It was not evaluated." in card
    assert "No threshold was measured" in card
    assert "not stated" in card
