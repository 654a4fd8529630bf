"""The pairs that the report shows: typical ones, and the errors of the combined score that are hardest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.evaluation.scoring.compared_pair import compare_pair
from oaml_core.evaluation.scoring.conditions import condition_named
from oaml_core.evaluation.scoring.scores import read_images
from oaml_core.evaluation.verdict.results import ConditionResult, Example, SetResult
from oaml_core.models.recogniser import Recogniser


def pick_examples(
    model: Recogniser,
    pairs: VerificationSet,
    result: SetResult,
    device: torch.device | str,
    count: int,
    folder: Path | None = None,
) -> list[Example]:
    """Examples of one set, `count` at most: half typical pairs, half hardest errors, spread over its conditions."""
    conditions = list(result.conditions.values())
    spread = np.unique(np.linspace(0, len(conditions) - 1, max(1, count // 2)).round().astype(int))
    each = max(1, count // (2 * len(spread)))
    shown: set[int] = set()
    chosen = []
    for number, place in enumerate(spread):
        condition = conditions[place]
        for kind, order in (
            ("typical", _most_typical(condition, result.issame, genuine_first=number % 2 == 0)),
            ("error", _hardest_errors(condition, result.issame)),
        ):
            # The same pair is often the hardest under all conditions: once is enough.
            new = [pair for pair in order if pair not in shown][:each]
            shown.update(new)
            chosen += [(condition, kind, pair) for pair in new]
    return [_example(model, pairs, result, condition, kind, pair, device, folder) for condition, kind, pair in chosen]


def _most_typical(condition: ConditionResult, issame: NDArray[np.bool_], *, genuine_first: bool) -> list[int]:
    """Return pairs from the middle of the genuine and of the impostor scores outwards, in turn."""
    values = condition.scores["combined"].values
    genuine, impostor = (
        kind[np.argsort(np.abs(values[kind] - np.median(values[kind])), kind="stable")].tolist()
        for kind in (np.flatnonzero(issame), np.flatnonzero(~issame))
    )
    turns = zip(genuine, impostor, strict=False) if genuine_first else zip(impostor, genuine, strict=False)
    return [pair for turn in turns for pair in turn]


def _hardest_errors(condition: ConditionResult, issame: NDArray[np.bool_]) -> list[int]:
    """Return pairs on the wrong side of the threshold, farthest first."""
    result = condition.scores["combined"]
    distance = np.where(issame, result.threshold - result.values, result.values - result.threshold)
    order = np.argsort(-distance, kind="stable")
    returned: list[int] = order[distance[order] > 0].tolist()
    return returned


def _example(
    model: Recogniser,
    pairs: VerificationSet,
    result: SetResult,
    condition: ConditionResult,
    kind: str,
    pair: int,
    device: torch.device | str,
    folder: Path | None,
) -> Example:
    numbers = np.array([pair])
    shown = condition_named(condition.name, folder)
    first, _ = shown.apply(read_images(pairs.images, 2 * numbers), numbers, pairs.landmarks, side=0)
    second, _ = shown.apply(read_images(pairs.images, 2 * numbers + 1), numbers, pairs.landmarks)
    return Example(
        caption=f"{result.name} · {condition.name} · pair {pair}",
        kind=kind if kind == "typical" else "false reject" if result.issame[pair] else "false accept",
        genuine=bool(result.issame[pair]),
        scores={name: float(score.values[pair]) for name, score in condition.scores.items()},
        pair=compare_pair(model, first[0], second[0], device),
    )
