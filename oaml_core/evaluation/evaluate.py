"""Evaluate a recogniser: every verification set, under every condition, by every score."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.config import Config, EvaluateConfig
from oaml_core.data.verification import VerificationSet
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.bootstrap import paired_interval
from oaml_core.evaluation.combine import calibrated_scores, combined_rule
from oaml_core.evaluation.conditions import CLEAN, SEED, conditions_of
from oaml_core.evaluation.examples import pick_examples
from oaml_core.evaluation.protocols import checked_pairs, ten_fold, ten_fold_any_range
from oaml_core.evaluation.results import ConditionResult, Evaluation, ScoreResult, SetResult
from oaml_core.evaluation.roc import auc, eer, roc, tar_at_far, thinned
from oaml_core.evaluation.scores import PairScores, score_conditions
from oaml_core.models.recogniser import Recogniser

logger = logging.getLogger(__name__)


def evaluate_model(
    model: Recogniser,
    sets: Mapping[str, VerificationSet],
    config: Config,
    device: torch.device | str = "cpu",
    *,
    examples: int = 8,
) -> Evaluation:
    """Scores, protocols and examples of every set, clean and with each of `config.evaluate.occluders` drawn.

    Args:
        model: recogniser, on `device`.
        sets: verification sets by name.
        config: its `evaluate` section.
        device: where the model is.
        examples: pairs with images, visibility maps and correspondences to keep for the report, for each set.

    Raises:
        EvaluationError: there is no set, or a set whose scores or labels no protocol can be computed from.
    """
    if not sets:
        raise EvaluationError(
            "There is no verification set to evaluate on. Put a .bin set beside the training data "
            "(data.source) and run `oaml prepare` again."
        )
    results: dict[str, SetResult] = {}
    pictures = []
    for name, pairs in sets.items():
        start = time.perf_counter()
        scored = score_conditions(
            model,
            pairs.images,
            conditions_of(config.evaluate.occluders),
            landmarks=pairs.landmarks,
            batch_size=config.evaluate.batch_size,
            device=device,
            progress=name,
        )
        seconds = time.perf_counter() - start
        results[name] = judge_set(name, scored, pairs.issame, config.evaluate, seconds)
        logger.info("%s: %d pairs under %d conditions in %.1f s", name, len(pairs.issame), len(scored), seconds)
        if examples:
            pictures += pick_examples(model, pairs, results[name], device, examples)
    return Evaluation(results, pictures)


def judge_set(
    name: str,
    scored: Mapping[str, PairScores],
    issame: NDArray[np.bool_],
    config: EvaluateConfig,
    seconds: float = 0.0,
) -> SetResult:
    """All protocols on one set's scores.

    Args:
        name: of the set, for messages.
        scored: scores of the same pairs under each condition; `clean` must be among them.
        issame: [N], true for genuine pairs.
        config: weights and FARs.
        seconds: how long scoring took.

    Raises:
        EvaluationError: scores or labels that no protocol can be computed from, with the set's name.
    """
    try:
        for condition, scores in scored.items():
            checked_pairs(scores.global_score, issame, f"global scores ({condition})")
            checked_pairs(scores.local_score, issame, f"local scores ({condition})")
        clean = scored[CLEAN.name]
        local = ten_fold_any_range(clean.local_score, issame)
        rule = combined_rule(clean, local.accuracy, config)
        labels = np.asarray(issame, dtype=np.bool_)
        calibrated = calibrated_scores(scored, labels, rule.normalisation)
        conditions = {}
        for condition, scores in scored.items():
            found = {
                "global": scores.global_score,
                "local": scores.local_score,
                "combined": rule(scores),
                "calibrated": calibrated[condition],
            }
            judged = {score: _judge(values, labels, config.far) for score, values in found.items()}
            conditions[condition] = ConditionResult(condition, _compared(judged, labels), scores)
    except EvaluationError as error:
        raise EvaluationError(f"Verification set {name}: {error}") from error
    return SetResult(name, labels, rule, conditions, seconds)


def validation_accuracy(scores: PairScores, issame: NDArray[np.bool_], config: EvaluateConfig) -> dict[str, float]:
    """10-fold accuracies in [0, 1] of the `global`, `local` and `combined` score: what training watches.

    Each rank scores a share of the clean pairs with `score_pairs`; the arrays of all ranks, in pair order, come here.

    Raises:
        EvaluationError: see `checked_pairs`.
    """
    checked_pairs(scores.global_score, issame, "global scores")
    checked_pairs(scores.local_score, issame, "local scores")
    local = ten_fold_any_range(scores.local_score, issame).accuracy
    rule = combined_rule(scores, local, config)
    return {
        "global": ten_fold_any_range(scores.global_score, issame).accuracy,
        "local": local,
        "combined": ten_fold_any_range(rule(scores), issame).accuracy,
    }


def _judge(values: NDArray[np.float64], issame: NDArray[np.bool_], rates: Sequence[float]) -> ScoreResult:
    folds = ten_fold_any_range(values, issame)
    curve = roc(values, issame)
    return ScoreResult(
        accuracy=folds.accuracy,
        accuracy_std=folds.accuracy_std,
        accuracy_by_fold=folds.accuracy_by_fold.tolist(),
        threshold=float(folds.threshold_by_fold.mean()),
        accuracy_published=None,
        auc=auc(curve),
        eer=eer(curve),
        tar_at_far=tar_at_far(curve, rates),
        roc=thinned(curve),
        correct=folds.correct,
        against_global=None,
        values=values,
    )


def _compared(judged: Mapping[str, ScoreResult], issame: NDArray[np.bool_]) -> dict[str, ScoreResult]:
    """The global score's result with the accuracy of the published protocol, the others' compared with it."""
    alone = judged["global"]
    published = ten_fold(2.0 - 2.0 * alone.values, issame).accuracy
    # The same resamples at every call: an evaluation can be repeated to the last digit.
    return {
        name: replace(result, accuracy_published=published)
        if name == "global"
        else replace(result, against_global=paired_interval(result.correct, alone.correct, np.random.default_rng(SEED)))
        for name, result in judged.items()
    }
