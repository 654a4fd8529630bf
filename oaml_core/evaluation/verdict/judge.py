"""Protocols on one set's scores: accuracies, error rates, and how sure each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import EvaluateConfig
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.combine import calibrated_scores, combined_rule, combined_scores
from oaml_core.evaluation.scoring.conditions import CLEAN
from oaml_core.evaluation.scoring.fuse import fuse
from oaml_core.evaluation.scoring.identities import PairIdentities, everybody_once
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.one_threshold import at_one_threshold, by_visible_share
from oaml_core.evaluation.statistics.protocols import Bools, Floats, checked_pairs, ten_fold, ten_fold_any_range
from oaml_core.evaluation.statistics.published_rates import published_vr_at_far
from oaml_core.evaluation.statistics.roc import auc, eer, roc, tar_at_far, thinned
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.evaluation.verdict.results import SCORES, ConditionResult, ScoreResult, SetResult
from oaml_core.inference.strangers import Strangers


def judge_set(
    name: str,
    scored: Mapping[str, PairScores],
    issame: NDArray[np.bool_],
    config: EvaluateConfig,
    seconds: float = 0.0,
    *,
    identities: PairIdentities | None = None,
    is_global_alone: bool = False,
    strangers: Strangers | None = None,
    line: tuple[float, float] = (1.0, 0.0),
) -> SetResult:
    """Return all protocols on one set's scores.

    Args:
        name: of the set, for messages.
        scored: scores of the same pairs under each condition; `clean` must be among them.
        issame: [N], true for genuine pairs.
        config: weights and FARs.
        seconds: how long scoring took.
        identities: of the pairs, for the intervals; None: every image but those of a genuine pair shows somebody else.
        is_global_alone: the recogniser gives embeddings alone, and there is nothing to combine.
        strangers: by which the combined score is measured, where `scored` holds the faces' spreads; None: it is the
            weighted mean.
        line: see `CombinedRule.line`.

    Raises:
        EvaluationError: scores or labels that no protocol can be computed from, with the set's name.
    """
    try:
        for condition, scores in scored.items():
            checked_pairs(scores.global_score, issame, f"global scores ({condition})")
            if not is_global_alone:
                checked_pairs(scores.local_score, issame, f"local scores ({condition})")
        labels = np.asarray(issame, dtype=np.bool_)
        if is_global_alone:
            return _judged_alone(name, scored, labels, config, seconds, identities)
        clean = scored[CLEAN.name]
        accuracy = ten_fold_any_range(clean.local_score, labels).accuracy
        rule = combined_rule(clean, accuracy, config, strangers, line)
        people = everybody_once(labels) if identities is None else identities
        fused = fuse(scored, labels, people, rule.normalisation)
        calibrated = calibrated_scores(scored, labels, rule.normalisation) if fused is None else fused.scores
        found = {
            condition: {
                "global": scores.global_score,
                "local": scores.local_score,
                "combined": combined_scores(rule, scores),
                "calibrated": calibrated[condition],
            }
            for condition, scores in scored.items()
        }
        judged = _judged(found, labels, people, config.far)
    except EvaluationError as error:
        raise EvaluationError(f"Verification set {name}: {error}") from error
    conditions = {condition: ConditionResult(condition, judged[condition], scored[condition]) for condition in scored}
    shares = {condition: scores.visible_share for condition, scores in scored.items()}
    bins = {
        score: by_visible_share(
            {condition: judged[condition][score].values for condition in judged},
            shares,
            labels,
            config.far,
            (people.first, people.second),
            CLEAN.name,
        )
        for score in SCORES
    }
    return SetResult(
        name,
        labels,
        rule,
        conditions,
        seconds,
        people,
        fusion=None if fused is None else fused.fusion,
        decision="combined" if fused is None or config.fusion == "fixed" else "calibrated",
        by_visible_share=bins,
    )


def _judged_alone(
    name: str,
    scored: Mapping[str, PairScores],
    issame: Bools,
    config: EvaluateConfig,
    seconds: float,
    identities: PairIdentities | None,
) -> SetResult:
    """Judge a set whose recogniser gives no other score than the global one."""
    people = everybody_once(issame) if identities is None else identities
    found = {condition: {"global": scores.global_score} for condition, scores in scored.items()}
    judged = _judged(found, issame, people, config.far)
    conditions = {condition: ConditionResult(condition, judged[condition], scored[condition]) for condition in scored}
    return SetResult(name, issame, None, conditions, seconds, people, decision="global")


def _judged(
    found: Mapping[str, Mapping[str, Floats]], issame: Bools, people: PairIdentities, rates: Sequence[float]
) -> dict[str, dict[str, ScoreResult]]:
    """Results with intervals; all conditions and scores share the resamples, so that differences are paired."""
    # The same resamples at every call: an evaluation can be repeated to the last digit.
    bootstrap = IdentityBootstrap(people.first, people.second, issame, np.random.default_rng(SEED))
    plain = {
        condition: {name: _judge(_single(values), issame, rates) for name, values in scores.items()}
        for condition, scores in found.items()
    }
    correct = np.stack([result.correct for results in plain.values() for result in results.values()], axis=1)
    accuracies = iter(bootstrap.shares(correct).T)
    complete = {
        condition: _with_intervals(results, {name: next(accuracies) for name in results}, bootstrap, issame)
        for condition, results in plain.items()
    }
    return _with_one_threshold(complete, issame, rates, bootstrap)


def _with_one_threshold(
    results: Mapping[str, Mapping[str, ScoreResult]],
    issame: Bools,
    rates: Sequence[float],
    bootstrap: IdentityBootstrap,
) -> dict[str, dict[str, ScoreResult]]:
    """Results by condition and score, with TAR and real FAR at one threshold for all conditions."""
    names = next(iter(results.values()))
    found = {
        name: at_one_threshold(
            {condition: scores[name].values for condition, scores in results.items()},
            issame,
            rates,
            bootstrap,
            CLEAN.name,
        )
        for name in names
    }
    return {
        condition: {name: replace(one, at_one_threshold=found[name][condition]) for name, one in scores.items()}
        for condition, scores in results.items()
    }


def _single(values: Floats) -> Floats:
    """Return scores as they are stored, in single precision: a comparison from the store decides exactly alike."""
    return values.astype(np.float32).astype(np.float64)


def _judge(values: Floats, issame: Bools, rates: Sequence[float]) -> ScoreResult:
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
        values=values,
    )


def _with_intervals(
    results: Mapping[str, ScoreResult],
    accuracies: Mapping[str, Floats],
    bootstrap: IdentityBootstrap,
    issame: Bools,
) -> dict[str, ScoreResult]:
    """Return intervals of one condition's results, and of their differences to the global score.

    Args:
        results: by score.
        accuracies: [R] of each score, resampled.
        bootstrap: that resampled them.
        issame: [N], true for genuine pairs.
    """
    alone = results["global"]
    rates = [point.far for point in alone.tar_at_far if point.measurable]
    tars = {name: bootstrap.tar_at_far(result.values, rates).T for name, result in results.items()}
    measured = {name: [p.tar for p in result.tar_at_far if p.tar is not None] for name, result in results.items()}
    distances = 2.0 - 2.0 * alone.values
    published = ten_fold(distances, issame).accuracy
    complete = {}
    for name, result in results.items():
        complete[name] = replace(
            result,
            accuracy_interval=Interval.of(result.accuracy, accuracies[name]),
            tar_intervals=[Interval.of(tar, drawn) for tar, drawn in zip(measured[name], tars[name], strict=True)],
        )
        if name == "global":
            vr = [published_vr_at_far(distances, issame, point.far) for point in alone.tar_at_far]
            complete[name] = replace(complete[name], accuracy_published=published, vr_published=vr)
            continue
        complete[name] = replace(
            complete[name],
            against_global=Interval.of(result.accuracy - alone.accuracy, accuracies[name] - accuracies["global"]),
            tar_against_global=[
                Interval.of(ours - theirs, our_draws - their_draws)
                for ours, theirs, our_draws, their_draws in zip(
                    measured[name], measured["global"], tars[name], tars["global"], strict=True
                )
            ],
        )
    return complete
