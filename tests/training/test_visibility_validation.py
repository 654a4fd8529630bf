"""Validation of the visibility map on held-out faces with masks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from oaml_core.config import Config, EvaluateConfig
from oaml_core.training.validation import validate_visibility
from oaml_core.training.world import World

CONFIG = Config(evaluate=EvaluateConfig(batch_size=3))
ALONE = World(0, 1, 0, 1)


class Pairs:
    """Faces whose brightness is the share of their mask's rows that is visible; the even ones are held out."""

    def indices(self, part: str) -> np.ndarray:
        return np.arange(0, 16, 2) if part == "validation" else np.arange(1, 16, 2)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        mask = torch.zeros(1, 112, 112)
        mask[:, : 7 * number] = 1
        return torch.full((3, 112, 112), number, dtype=torch.uint8), mask


class Knows(nn.Module):
    """Says of each face what its brightness says, plus a fault."""

    def __init__(self, fault: float) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, images: Tensor) -> Any:
        _, masks = zip(*(Pairs()[int(image[0, 0, 0])] for image in images), strict=True)
        maps = nn.functional.adaptive_avg_pool2d(torch.stack(masks), 7)
        return SimpleNamespace(visibility=(maps - self.fault).clamp(0, 1))


def test_a_right_map_has_no_error_and_finds_all_that_is_covered() -> None:
    found = validate_visibility(Knows(0), Pairs(), CONFIG, ALONE, torch.device("cpu"))  # type: ignore[arg-type]
    assert found == {"val/visibility/mae": 0.0, "val/visibility/iou": 1.0}


def test_faults_are_measured_over_the_held_out_faces() -> None:
    found = validate_visibility(Knows(1), Pairs(), CONFIG, ALONE, torch.device("cpu"))  # type: ignore[arg-type]
    visible = np.mean([7 * number / 112 for number in range(0, 16, 2)])
    assert found["val/visibility/mae"] == pytest.approx(visible, abs=1e-6)
    assert found["val/visibility/iou"] == pytest.approx(1 - visible, abs=0.03)


def test_without_held_out_faces_there_is_nothing_to_say() -> None:
    assert validate_visibility(Knows(0), None, CONFIG, ALONE, torch.device("cpu")) == {}  # type: ignore[arg-type]
