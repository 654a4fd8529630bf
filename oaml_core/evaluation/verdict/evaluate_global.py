"""Evaluate a recogniser that gives embeddings alone: the global score on every set, under every condition."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from oaml_core.config import Config
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.conditions import CLEAN
from oaml_core.evaluation.scoring.global_alone import Embed, score_global
from oaml_core.evaluation.scoring.identities import identities_of
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


def evaluate_embeddings(
    embed: Embed, image_size: int, sets: Mapping[str, VerificationSet], config: Config, name: str
) -> Evaluation:
    """Measure the global score of every set, clean and under every condition that `config.evaluate` names.

    Args:
        embed: describes faces.
        image_size: side in pixels that it takes.
        sets: verification sets by name.
        config: its `evaluate` section, and the folder of cut-outs.
        name: of the recogniser, for what is said of absent scores.

    Raises:
        EvaluationError: there is no set, a set is of another size, or no protocol can be computed from it.
    """
    if not sets:
        raise EvaluationError("There is no verification set to evaluate on: put one beside the data (data.source).")
    check_kinds(sets)
    chosen = config.evaluate
    conditions = conditions_for(config)
    results = {}
    spent = {"scoring": 0.0, "judging": 0.0}
    for set_name, pairs in sets.items():
        if pairs.images.shape[1] != image_size:
            raise EvaluationError(
                f"{name} takes faces of {image_size} pixels, {set_name} has {pairs.images.shape[1]}. Give "
                f"--data.image_size {image_size}."
            )
        began = time.perf_counter()
        scored = score_global(embed, pairs.images, conditions, landmarks=pairs.landmarks, progress=set_name)
        scoring = time.perf_counter() - began
        clean = scored[CLEAN.name].global_score
        if np.ptp(clean) < SAME_SCORE:
            raise EvaluationError(
                f"{name} gives the same embedding for every face of {set_name}: all pairs have the score "
                f"{clean[0]:.3f}. Its weights, or the range of its pixels, are not right."
            )
        results[set_name] = judge_set(
            set_name, scored, pairs.issame, chosen, scoring, identities=identities_of(pairs), is_global_alone=True
        )
        spent["scoring"] += scoring
        spent["judging"] += time.perf_counter() - began - scoring
    return Evaluation(
        results, seconds={what: round(value, 3) for what, value in spent.items()}, absent=ABSENT.format(name)
    )
