"""The pairs that the report shows: typical ones, and the errors of the combined score that are hardest."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.data.verification import VerificationSet
from oaml_core.evaluation.compared_pair import compare_pair
from oaml_core.evaluation.conditions import condition_named
from oaml_core.evaluation.results import ConditionResult, Example, SetResult
from oaml_core.evaluation.scores import read_images
from oaml_core.models.recogniser import Recogniser


def pick_examples(
    model: Recogniser, pairs: VerificationSet, result: SetResult, device: torch.device | str, count: int
) -> list[Example]:
    """Examples of one set, `count` at most: half typical pairs, half hardest errors, spread over its conditions."""
    conditions = list(result.conditions.values())
    spread = np.unique(np.linspace(0, len(conditions) - 1, max(1, count // 2)).round().astype(int))
    each = max(1, count // (2 * len(spread)))
    chosen = [
        (condition, kind, pair)
        for condition in (conditions[place] for place in spread)
        for kind, pair in _typical(condition, result.issame, each) + _errors(condition, result.issame, each)
    ]
    return [_example(model, pairs, result, condition, kind, pair, device) for condition, kind, pair in chosen]


def _typical(condition: ConditionResult, issame: NDArray[np.bool_], count: int) -> list[tuple[str, int]]:
    """Pairs at the middle of the genuine and of the impostor scores, in turn."""
    values = condition.scores["combined"].values
    found = []
    for i in range(count):
        kind = np.flatnonzero(issame == (i % 2 == 0))
        order = kind[np.argsort(values[kind], kind="stable")]
        found.append(("typical", int(order[(order.size // 2 + i // 2) % order.size])))
    return found


def _errors(condition: ConditionResult, issame: NDArray[np.bool_], count: int) -> list[tuple[str, int]]:
    """Pairs on the wrong side of the threshold, farthest first."""
    result = condition.scores["combined"]
    distance = np.where(issame, result.threshold - result.values, result.values - result.threshold)
    order = np.argsort(-distance, kind="stable")[:count]
    return [("false reject" if issame[pair] else "false accept", int(pair)) for pair in order if distance[pair] > 0]


def _example(
    model: Recogniser,
    pairs: VerificationSet,
    result: SetResult,
    condition: ConditionResult,
    kind: str,
    pair: int,
    device: torch.device | str,
) -> Example:
    numbers = np.array([pair])
    shown = condition_named(condition.name)
    first, _ = shown.apply(read_images(pairs.images, 2 * numbers), numbers, pairs.landmarks, side=0)
    second, _ = shown.apply(read_images(pairs.images, 2 * numbers + 1), numbers, pairs.landmarks)
    return Example(
        caption=f"{result.name} · {condition.name} · pair {pair}",
        kind=kind,
        genuine=bool(result.issame[pair]),
        scores={name: float(score.values[pair]) for name, score in condition.scores.items()},
        pair=compare_pair(model, first[0], second[0], device),
    )
