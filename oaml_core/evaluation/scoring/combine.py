"""Rules that make one score of the global and the local one, by a set's pairs: a weighted mean, and a calibrated one.

Both rules see normalised scores: (score − mean) / deviation, with mean and deviation of all the set's *clean*
pairs. No label takes part, and the same four numbers serve every condition of the set and, stored in
`metrics.json`, the comparison of two single images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import EvaluateConfig
from oaml_core.data.sources.verification import folds_of
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.protocols import Bools, Floats, fold_numbers
from oaml_core.inference.combining import CombinedRule, Normalisation
from oaml_core.inference.strangers import Strangers

FALLBACK_WEIGHTS = (0.8, 0.2)
"""Global and local weight where the local score alone decides worse than a coin (the specification's rule)."""
FALLBACK_BELOW = 0.5
"""Local 10-fold accuracy below which they are used."""


def normalisation_of(clean: PairScores) -> Normalisation:
    """Return statistics of clean pairs, genuine and impostor together.

    Raises:
        EvaluationError: a score is not finite.
    """
    for name, score in (("global", clean.global_score), ("local", clean.local_score)):
        if not np.isfinite(score).all():
            raise EvaluationError(
                f"{int((~np.isfinite(score)).sum())} of {score.size} {name} scores are NaN or infinite. "
                "The model has diverged: evaluate an earlier checkpoint."
            )
    return Normalisation(
        float(clean.global_score.mean()),
        _deviation(clean.global_score),
        float(clean.local_score.mean()),
        _deviation(clean.local_score),
    )


def combined_rule(
    clean: PairScores,
    local_accuracy: float,
    config: EvaluateConfig,
    strangers: Strangers | None = None,
    line: tuple[float, float] = (1.0, 0.0),
) -> CombinedRule:
    """Return the rule for one set.

    Args:
        clean: scores of the set's clean pairs, for the normalisation.
        local_accuracy: 10-fold accuracy of the local score on them, in [0, 1]; it only decides on the fallback.
        config: holds the weights.
        strangers: by which scores are measured; None: scores stay the weighted mean.
        line: see `CombinedRule.line`.
    """
    fallback = local_accuracy < FALLBACK_BELOW
    weights = FALLBACK_WEIGHTS if fallback else (config.adaface_weight, config.qaconv_weight)
    return CombinedRule(normalisation_of(clean), *weights, fallback=fallback, strangers=strangers, line=line)


def combined_scores(rule: CombinedRule, scores: PairScores) -> Floats:
    """Return [N] combined scores of pairs."""
    spreads = None if scores.spreads is None else (scores.spreads[:, 0], scores.spreads[:, 1])
    return rule.of(scores.global_score, scores.local_score, spreads)


def calibrated_scores(
    conditions: Mapping[str, PairScores], issame: Bools, normalisation: Normalisation, folds: int | None = None
) -> dict[str, Floats]:
    """Log-odds that a pair is genuine, from a logistic regression fitted on the other folds only.

    The regression sees both normalised scores, the visible share and the products of each score with it, so
    that it can trust the local score more where less of a face shows. For fold k it is fitted on the pairs of
    the other folds under all conditions together, so one calibration serves clean and covered faces.

    Args:
        conditions: scores of the same N pairs under each condition.
        issame: [N], true for genuine pairs.
        normalisation: statistics of the clean pairs.
        folds: number of consecutive blocks, as in `ten_fold`.

    Returns:
        [N] log-odds for each condition.
    """
    folds = folds_of(issame.size) if folds is None else folds
    fold = fold_numbers(issame.size, folds)
    inputs = {name: _regressors(scores, normalisation) for name, scores in conditions.items()}
    result = {name: np.empty(issame.size) for name in conditions}
    for k in range(folds):
        train, test = fold != k, fold == k
        weights = fit_logistic(np.concatenate([x[train] for x in inputs.values()]), np.tile(issame[train], len(inputs)))
        for name, x in inputs.items():
            result[name][test] = x[test] @ weights
    return result


def fit_logistic(x: Floats, y: Bools, penalty: float = 1.0, steps: int = 50) -> Floats:
    """Return weights [F] of a logistic regression, by Newton's method.

    Args:
        x: [N, F]; a column of ones is the intercept and is penalised like the others.
        y: [N] labels.
        penalty: λ of the term λ/2 · |weights|², which keeps the weights finite on separable data.
        steps: Newton steps at most.
    """
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        probability = 0.5 * (1.0 + np.tanh(0.5 * (x @ weights)))
        gradient = x.T @ (probability - y) + penalty * weights
        curvature = (x * (probability * (1.0 - probability))[:, None]).T @ x + penalty * np.eye(x.shape[1])
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-10:
            break
    return weights


def _regressors(scores: PairScores, normalisation: Normalisation) -> Floats:
    global_score, local_score = normalisation.apply(scores.global_score, scores.local_score)
    share = scores.visible_share
    return np.stack(
        [
            np.ones_like(share),
            global_score,
            local_score,
            share,
            global_score * share,
            local_score * share,
        ],
        axis=1,
    )


def _deviation(scores: NDArray[np.float64]) -> float:
    # A constant score carries no evidence; dividing by 1 leaves it at 0 after the mean is taken off.
    return float(scores.std()) or 1.0
