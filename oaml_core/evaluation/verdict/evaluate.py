"""Evaluate a recogniser: every verification set, under every condition, by every score."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.config import Config, EvaluateConfig
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.combine import combined_rule, combined_scores
from oaml_core.evaluation.scoring.conditions import Condition, conditions_of
from oaml_core.evaluation.scoring.identities import identities_of
from oaml_core.evaluation.scoring.score_parts import ScoredSet
from oaml_core.evaluation.scoring.scores import PairScores, score_conditions
from oaml_core.evaluation.scoring.stranger_faces import local_line
from oaml_core.evaluation.statistics.protocols import check_kinds, checked_pairs, ten_fold_any_range
from oaml_core.evaluation.verdict.examples import pick_examples
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.results import Evaluation, Example, SetResult
from oaml_core.inference.strangers import Strangers
from oaml_core.models.recogniser import Recogniser

logger = logging.getLogger(__name__)


def evaluate_model(
    model: Recogniser,
    sets: Mapping[str, VerificationSet],
    config: Config,
    device: torch.device | str = "cpu",
    *,
    examples: int | None = None,
    strangers: Strangers | None = None,
    scored: Mapping[str, ScoredSet] | None = None,
) -> Evaluation:
    """Scores, protocols and examples of every set, clean and under every condition that `config.evaluate` names.

    Args:
        model: recogniser, on `device`.
        sets: verification sets by name.
        config: its `evaluate` section.
        device: where the model is.
        examples: pairs with images, visibility maps and correspondences to keep for the report, for each set;
            None: `config.evaluate.pictures`.
        strangers: by which combined scores are measured, of a model that makes one vector of a face; None: they are
            weighted means.
        scored: scores of all sets under all conditions, where they are known; None: they are scored here.

    Raises:
        EvaluationError: there is no set, or a set whose scores or labels no protocol can be computed from.
    """
    if not sets:
        raise EvaluationError(
            "There is no verification set to evaluate on. Put a .bin set beside the training data "
            "(data.source) and run `oaml prepare` again."
        )
    check_kinds(sets)
    chosen = config.evaluate
    conditions = conditions_for(config)
    examples = chosen.pictures if examples is None else examples
    results: dict[str, SetResult] = {}
    pictures: list[Example] = []
    spent = dict.fromkeys(("scoring", "judging", "pictures"), 0.0)
    for name, pairs in sets.items():
        if scored is None:
            found = score_set(model, pairs, conditions, config, device, strangers=strangers)
        else:
            found = scored[name]
        spent["scoring"] += found.seconds
        with _timed(spent, "judging"):
            people = identities_of(pairs)
            results[name] = judge_set(
                name,
                found.scores,
                pairs.issame,
                chosen,
                found.seconds,
                identities=people,
                strangers=strangers,
                line=local_line(model),
            )
        logger.info(
            "%s: %d pairs under %d conditions in %.1f s", name, len(pairs.issame), len(conditions), found.seconds
        )
        if examples:
            with _timed(spent, "pictures"):
                pictures += pick_examples(model, pairs, results[name], device, examples, cutout_folder(config))
    return Evaluation(
        results,
        pictures,
        seconds={what: round(seconds, 3) for what, seconds in spent.items()},
        strangers=strangers,
    )


def score_set(
    model: Recogniser,
    pairs: VerificationSet,
    conditions: Sequence[Condition],
    config: Config,
    device: torch.device | str = "cpu",
    *,
    strangers: Strangers | None = None,
    rows: slice | None = None,
) -> ScoredSet:
    """Score pairs of a set under every condition.

    Args:
        model: recogniser, on `device`.
        pairs: the set.
        conditions: as `conditions_for` gives them.
        config: its `evaluate.batch_size`.
        device: where the model is.
        strangers: see `evaluate_model`.
        rows: pairs of one shard, whole chunks; None: all.
    """
    began = time.perf_counter()
    scores = score_conditions(
        model,
        pairs.images,
        conditions,
        landmarks=pairs.landmarks,
        batch_size=config.evaluate.batch_size,
        device=device,
        pairs=rows,
        strangers=strangers,
        progress=pairs.name,
    )
    return ScoredSet(scores, time.perf_counter() - began)


def conditions_for(config: Config) -> list[Condition]:
    """Return the conditions that `config.evaluate` names, with the cut-outs of `config.data`."""
    chosen = config.evaluate
    return conditions_of(chosen.occluders, chosen.block_shares, chosen.sides, cutout_folder(config))


def cutout_folder(config: Config) -> Path | None:
    """Return the folder of cut-outs; None if there is none."""
    return None if config.data.occluders is None else Path(config.data.occluders)


@contextmanager
def _timed(spent: dict[str, float], what: str) -> Iterator[None]:
    """Add the block's wall-clock seconds to `spent[what]`."""
    began = time.perf_counter()
    yield
    spent[what] += time.perf_counter() - began


def validation_scores(
    scores: PairScores, issame: NDArray[np.bool_], config: EvaluateConfig
) -> dict[str, NDArray[np.float64]]:
    """Return the `global`, `local` and `combined` scores [N] of pairs, for validation in training.

    Each rank scores a share of the clean pairs with `score_pairs`; the arrays of all ranks, in pair order, come here.

    Raises:
        EvaluationError: see `checked_pairs`.
    """
    checked_pairs(scores.global_score, issame, "global scores")
    checked_pairs(scores.local_score, issame, "local scores")
    rule = combined_rule(scores, ten_fold_any_range(scores.local_score, issame).accuracy, config)
    return {"global": scores.global_score, "local": scores.local_score, "combined": combined_scores(rule, scores)}


def validation_accuracy(scores: Mapping[str, NDArray[np.float64]], issame: NDArray[np.bool_]) -> dict[str, float]:
    """Return 10-fold accuracies in [0, 1] of scores [N] by their names, as `validation_scores` gives them."""
    return {name: ten_fold_any_range(values, issame).accuracy for name, values in scores.items()}
