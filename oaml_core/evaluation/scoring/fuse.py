"""Fit the fusion of a pair's evidence, so that nobody is scored by a fusion that saw them.

The regression is fitted on pairs under all conditions together, both classes weighing the same: its log-odds are then
log-likelihood ratios. People are cut into folds, and a pair is scored by the fusion of those pairs that share no fold
with either of its people. The exported fusion is fitted on everybody; its thresholds come from the cross-fitted scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.scoring.identities import PairIdentities, linked
from oaml_core.evaluation.scoring.ratio_spread import with_spread
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.protocols import Bools, Floats
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.inference.combining import Normalisation
from oaml_core.inference.fusion import FREE, REGIONS, SLOPES, Evidence, Fusion

FOLDS = 5
FEWEST = 50
"""Genuine and impostor pairs below which nothing is fitted: the fusion has 24 weights."""
PENALTY = 1.0
"""λ of λ/2 · |weights|²."""
STEPS = 50


class Fused(NamedTuple):
    """Cross-fitted fusion of one set."""

    scores: dict[str, Floats]
    """[N] by condition; see `Fusion.score`."""
    ratios: dict[str, Floats]
    """[N] log-likelihood ratios by condition."""
    fusion: Fusion
    """Fitted on all people and conditions; none of `scores` comes from it."""


def evidence_of(scores: PairScores) -> Evidence:
    """Evidence of scored pairs; where regions or quality are not known, the visible share and a constant."""
    regions = scores.regions
    if regions is None:
        regions = np.repeat(scores.visible_share[:, None], len(REGIONS), axis=1)
    quality = np.zeros(len(scores.global_score)) if scores.quality is None else scores.quality
    return Evidence(scores.global_score, scores.local_score, regions, quality)


def fuse(
    conditions: Mapping[str, PairScores],
    issame: Bools,
    people: PairIdentities,
    normalisation: Normalisation,
    held_out: Mapping[str, Sequence[str]] | None = None,
) -> Fused | None:
    """Fuse the evidence of a set's pairs under every condition.

    Args:
        conditions: scores of the same N pairs by condition.
        issame: [N], true for genuine pairs.
        people: in the pairs.
        normalisation: statistics of the clean pairs.
        held_out: by condition the conditions that its fusion is not fitted on, such as those with the same occluder;
            None: no condition is held out.

    Returns:
        Cross-fitted scores; None where some fold would leave fewer than `FEWEST` pairs of a class to fit on.
    """
    evidence = {name: evidence_of(scores) for name, scores in conditions.items()}
    parts = _parts(people)
    if any(min(_counts(issame[train])) < FEWEST for _, train in parts):
        return None
    scores = {name: np.empty(issame.size) for name in conditions}
    ratios = {name: np.empty(issame.size) for name in conditions}
    for without, scored in _by_held_out(conditions, held_out or {}).items():
        known = {name: found for name, found in evidence.items() if name not in without}
        for test, train in parts:
            fusion = fit_fusion([_rows(found, train) for found in known.values()], issame[train], normalisation)
            for name in scored:
                rows = _rows(evidence[name], test)
                scores[name][test], ratios[name][test] = fusion.score(rows), fusion.log_likelihood_ratio(rows)
    return Fused(scores, ratios, fit_fusion(list(evidence.values()), issame, normalisation, people))


def fit_fusion(
    conditions: Sequence[Evidence], issame: Bools, normalisation: Normalisation, people: PairIdentities | None = None
) -> Fusion:
    """Fit a fusion of global score, local score, visibility and quality to pairs.

    Args:
        conditions: evidence of the same N pairs, one per condition.
        issame: [N], true for genuine pairs.
        normalisation: statistics of the clean pairs.
        people: in the pairs, over whom the ratio's interval is taken; None: it gets none.
    """
    evidence = Evidence(*map(np.concatenate, zip(*conditions, strict=True)))
    labels = np.tile(issame, len(conditions))
    plain = Fusion(
        normalisation.global_mean,
        normalisation.global_std,
        normalisation.local_mean,
        normalisation.local_std,
        float(evidence.quality.mean()),
        float(evidence.quality.std()) or 1.0,
        *((0.0,) * size for size in (FREE, SLOPES, SLOPES, FREE, FREE)),
    )
    x = plain.regressors(evidence)
    share = np.where(labels, labels.mean(), 1.0 - labels.mean())
    weight = 0.5 / share
    weights = fit_monotone(x, labels, weight, np.arange(x.shape[1]) < FREE)
    free, global_slopes, local_slopes = np.split(weights, [FREE, FREE + SLOPES])
    ratio = replace(plain, free=_tuple(free), global_slopes=_tuple(global_slopes), local_slopes=_tuple(local_slopes))
    if people is not None:
        ratio = with_spread(ratio, x, issame, weight, people, PENALTY)
    impostors = Evidence(*(column[~labels] for column in evidence))
    location, log_scale = upper_spread(ratio.context(impostors), ratio.log_likelihood_ratio(impostors))
    return replace(ratio, impostor_location=_tuple(location), impostor_log_scale=_tuple(log_scale))


def fit_monotone(x: Floats, y: Bools, weight: Floats, free: Bools, penalty: float = PENALTY) -> Floats:
    """Return weights [F] of a logistic regression, some of them never negative, by projected Newton steps.

    Of the weights at 0 those whose gradient points below 0 stay there, and Newton's step is taken for the others
    (Bertsekas, SIAM Journal on Control and Optimization 20(2), 1982).

    Args:
        x: [N, F].
        y: [N] labels.
        weight: [N] of the observations.
        free: [F], whether a weight may be negative.
        penalty: λ of λ/2 · |weights|².
    """

    def loss(w: Floats) -> float:
        margin = (x @ w) * np.where(y, 1.0, -1.0)
        return float(weight @ np.logaddexp(0.0, -margin) + penalty / 2 * w @ w)

    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        probability = 0.5 * (1.0 + np.tanh(0.5 * (x @ weights)))
        gradient = x.T @ (weight * (probability - y)) + penalty * weights
        moving = free | (weights > 0) | (gradient < 0)
        curvature = weight * probability * (1.0 - probability)
        some = x[:, moving]
        hessian = (some * curvature[:, None]).T @ some + penalty * np.eye(int(moving.sum()))
        step = np.zeros_like(weights)
        step[moving] = np.linalg.solve(hessian, gradient[moving])
        after = _searched(weights, step, free, loss)
        if np.abs(after - weights).max() < 1e-8:
            break
        weights = after
    return weights


def _searched(weights: Floats, step: Floats, free: Bools, loss: Callable[[Floats], float]) -> Floats:
    """Return the projected step, halved until the loss falls; `weights` where it does not."""
    before = loss(weights)
    for halving in range(30):
        trial = weights - step / 2**halving
        trial = np.where(free, trial, np.maximum(trial, 0.0))
        if loss(trial) < before:
            result: Floats = trial
            return result
    return weights


def upper_spread(context: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Location and log scale of values, both linear in their context.

    Location: least squares. Scale: root mean square of the residuals above 0, which thresholds lie among, by a gamma
    regression of their squares with a logarithmic link; 1 for values that do not spread.

    Args:
        context: [N, F], a column of ones first.
        values: [N].
    """
    ridge = np.eye(context.shape[1])
    location = np.asarray(np.linalg.solve(context.T @ context + ridge, context.T @ values), dtype=np.float64)
    residual = values - context @ location
    log_scale: Floats = np.zeros(context.shape[1])
    # Rounding alone is no spread.
    above = residual > 1e-9 * (1.0 + np.abs(values).max())
    if above.sum() < context.shape[1]:
        return location, log_scale
    x, squares = context[above], residual[above] ** 2
    fisher = 2.0 * x.T @ x + ridge
    log_scale[0] = 0.5 * np.log(squares.mean())
    for _ in range(STEPS):
        away = x.T @ (squares * np.exp(-2.0 * (x @ log_scale)) - 1.0) - np.append(0.0, log_scale[1:])
        step = np.linalg.solve(fisher, away)
        log_scale = log_scale + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    return location, np.asarray(log_scale)


def _parts(people: PairIdentities) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return pairs to score and pairs to fit on, [N] each; no person is in both, and every pair is scored once."""
    first, second = _folds(people)
    parts = []
    for low in range(FOLDS):
        for high in range(low, FOLDS):
            test = (np.minimum(first, second) == low) & (np.maximum(first, second) == high)
            if test.any():
                parts.append((test, ~np.isin(first, (low, high)) & ~np.isin(second, (low, high))))
    return parts


def _folds(people: PairIdentities) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fold of each pair's people: groups that no pair links stay whole, where there are enough of them."""
    names, numbers = np.unique(np.concatenate([people.first, people.second]), return_inverse=True)
    first, second = np.split(numbers, 2)
    group = linked(first, second, names.size)
    if np.bincount(group).max() > names.size / FOLDS:
        group = np.arange(names.size)
    groups = int(group.max()) + 1
    fold = (np.random.default_rng(SEED).permutation(groups) % FOLDS)[group]
    return fold[first], fold[second]


def _by_held_out(
    conditions: Mapping[str, PairScores], held_out: Mapping[str, Sequence[str]]
) -> dict[frozenset[str], list[str]]:
    """Conditions that are scored by the same fusions, by what these are not fitted on."""
    found: dict[frozenset[str], list[str]] = {}
    for name in conditions:
        found.setdefault(frozenset(held_out.get(name, ())), []).append(name)
    return found


def _counts(issame: Bools) -> tuple[int, int]:
    genuine = int(issame.sum())
    return genuine, issame.size - genuine


def _rows(evidence: Evidence, rows: NDArray[np.bool_]) -> Evidence:
    return Evidence(*(column[rows] for column in evidence))


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())
