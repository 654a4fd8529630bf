"""Scores of a model that nobody has: worse the more is covered, the local one less so."""

from __future__ import annotations

import numpy as np

from oaml_core.config import EvaluateConfig
from oaml_core.evaluation.scoring.conditions import conditions_of
from oaml_core.evaluation.scoring.scores import BINS, PairScores
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.results import SetResult

SHARES = {"surgical": 0.33, "veil": 0.55, "sunglasses": 0.14}


def simulated_set(name: str, pairs: int = 600, strength: float = 4.0, seed: int = 0) -> SetResult:
    """A whole sweep over a set of `pairs` pairs; `strength` is how well faces are told apart."""
    config = EvaluateConfig(far=(1e-1, 1e-2, 1e-3, 1e-4))
    issame = np.arange(pairs) % 2 == 0
    conditions = conditions_of(config.occluders, config.block_shares, config.sides)
    scored = {}
    for number, condition in enumerate(conditions):
        generator = np.random.default_rng([seed, number])
        share = condition.block_share or SHARES.get(condition.occluder or "", 0.0)
        scored[condition.name] = _scores(issame, share, strength, 2 if condition.both else 1, generator)
    return judge_set(name, scored, issame, config, 12.3)


def _scores(
    issame: np.ndarray, share: float, strength: float, sides: int, generator: np.random.Generator
) -> PairScores:
    pairs = issame.size
    common = generator.normal(0, 0.6, pairs)
    left = (1 - share) ** sides
    places = np.zeros((pairs, BINS))
    places[:, 0], places[:, 4], places[:, -1] = 48 * share, 1.0, 48 * (1 - share)
    predicted = places * (np.arange(BINS) + 0.5) / BINS
    return PairScores(
        global_score=0.12 * (strength * left**1.5 * issame + common + generator.normal(0, 0.8, pairs)),
        local_score=10 * (0.95 * strength * left**0.8 * issame + common + generator.normal(0, 0.9, pairs)),
        visible_share=np.clip(left + generator.normal(0, 0.05, pairs), 0, 1),
        covered_share=np.full(pairs, share),
        hidden_intersection=np.full(pairs, 40 * share),
        hidden_union=np.full(pairs, 50 * share),
        map_error=np.full(pairs, 0.05),
        reliability=np.stack([places, predicted, places * np.linspace(0.03, 0.97, BINS)], axis=1),
    )
