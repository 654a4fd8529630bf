"""Likelihood ratios in words, and which model metadata is refused."""

from __future__ import annotations

import json
import math

import pytest
from test_fusion import FUSION

from oaml_core.errors import ExportError
from oaml_core.inference.model_metadata import read_model_metadata
from oaml_core.inference.ratio import Ratio, RatioInterval


@pytest.mark.parametrize(
    ("ratio", "interval", "words"),
    [
        (240, None, "240"),
        (240, (90, 651), "240 (95 % interval 90 to 651)"),
        (2.5, (1 / 2, 12), "2.5 (95 % interval 1/2.0 to 12)"),
        (1 / 240, (1 / 651, 1 / 90), "1/240 (95 % interval 1/651 to 1/90)"),
        (1234567, (90, None), "above 1,000,000 (at least 90)"),
        (1e-9, (None, 1 / 90), "below 1/1,000,000 (at most 1/90)"),
        (1.0, (None, None), "1.0 (not measurable)"),
        (9.96, None, "10"),
        (12345, None, "12,345"),
    ],
)
def test_ratios_are_told_with_their_interval(ratio: float, interval: RatioInterval | None, words: str) -> None:
    ends = None if interval is None else tuple(None if end is None else math.log(end) for end in interval)
    assert str(Ratio(math.log(ratio), ends)) == f"likelihood ratio {words}"


@pytest.mark.parametrize("part", ["free", "impostor_location", "covariance_root"])
def test_a_model_whose_fusion_lost_a_weight_is_refused_by_name(part: str) -> None:
    content = FUSION.as_json()
    content[part] = [*content[part][1:]] if content[part] else [0.5]
    with pytest.raises(ExportError, match=f"model.onnx, fusion, is damaged: {part} has .*Export"):
        read_model_metadata(json.dumps({"fusion": content}), "model.onnx")
