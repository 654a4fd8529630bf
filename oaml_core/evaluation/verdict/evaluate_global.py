"""Evaluate a recogniser that gives embeddings alone: the global score on every set, under every condition."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from oaml_core.config import Config
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.conditions import CLEAN, Condition
from oaml_core.evaluation.scoring.global_alone import Embed, score_global
from oaml_core.evaluation.scoring.identities import identities_of
from oaml_core.evaluation.scoring.score_parts import ScoredSet
from oaml_core.evaluation.statistics.protocols import check_kinds
from oaml_core.evaluation.verdict.evaluate import conditions_for
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.results import Evaluation

SAME_SCORE = 1e-6
"""Difference of cosines below which embeddings are taken for one and the same."""
ABSENT = (
    "Local, combined and calibrated scores and visibility maps are absent: {} gives embeddings alone, and OAML has "
    "trained no matcher and no visibility head on it."
)


def check_sizes(sets: Mapping[str, VerificationSet], image_size: int, name: str) -> None:
    """Raise EvaluationError if there is no set, or the recogniser `name` takes faces of another size than a set has."""
    if not sets:
        raise EvaluationError("There is no verification set to evaluate on: put one beside the data (data.source).")
    for set_name, pairs in sets.items():
        if pairs.images.shape[1] != image_size:
            raise EvaluationError(
                f"{name} takes faces of {image_size} pixels, {set_name} has {pairs.images.shape[1]}. Give "
                f"--data.image_size {image_size}."
            )


def score_embeddings(
    embed: Embed, pairs: VerificationSet, conditions: Sequence[Condition], rows: slice | None = None
) -> ScoredSet:
    """Score pairs of a set under every condition by the global score.

    Args:
        embed: describes faces.
        pairs: the set.
        conditions: as `conditions_for` gives them.
        rows: pairs of one shard, whole chunks; None: all.
    """
    began = time.perf_counter()
    scores = score_global(embed, pairs.images, conditions, landmarks=pairs.landmarks, pairs=rows, progress=pairs.name)
    return ScoredSet(scores, time.perf_counter() - began)


def evaluate_embeddings(
    embed: Embed,
    image_size: int,
    sets: Mapping[str, VerificationSet],
    config: Config,
    name: str,
    *,
    scored: Mapping[str, ScoredSet] | None = None,
) -> Evaluation:
    """Measure the global score of every set, clean and under every condition that `config.evaluate` names.

    Args:
        embed: describes faces.
        image_size: side in pixels that it takes.
        sets: verification sets by name.
        config: its `evaluate` section, and the folder of cut-outs.
        name: of the recogniser, for what is said of absent scores.
        scored: scores that shards made of all pairs, by set; None: all are scored here.

    Raises:
        EvaluationError: there is no set, a set is of another size, or no protocol can be computed from it.
    """
    check_sizes(sets, image_size, name)
    check_kinds(sets)
    chosen = config.evaluate
    conditions = conditions_for(config)
    results = {}
    spent = {"scoring": 0.0, "judging": 0.0}
    for set_name, pairs in sets.items():
        scores, scoring = score_embeddings(embed, pairs, conditions) if scored is None else scored[set_name]
        began = time.perf_counter()
        clean = scores[CLEAN.name].global_score
        if np.ptp(clean) < SAME_SCORE:
            raise EvaluationError(
                f"{name} gives the same embedding for every face of {set_name}: all pairs have the score "
                f"{clean[0]:.3f}. Its weights, or the range of its pixels, are not right."
            )
        results[set_name] = judge_set(
            set_name, scores, pairs.issame, chosen, scoring, identities=identities_of(pairs), is_global_alone=True
        )
        spent["scoring"] += scoring
        spent["judging"] += time.perf_counter() - began
    return Evaluation(
        results, seconds={what: round(value, 3) for what, value in spent.items()}, absent=ABSENT.format(name)
    )
