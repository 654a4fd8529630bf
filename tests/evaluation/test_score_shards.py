"""Scores of a set's pairs are the same to the last bit, whatever shards score them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from colour_model import ColourRecogniser
from torch.nn.functional import normalize

from oaml_core.evaluation.scoring import shard
from oaml_core.evaluation.scoring.conditions import conditions_of
from oaml_core.evaluation.scoring.scores import join_scores, score_conditions

CHUNK = 16


class ColoursInBatches(ColourRecogniser):
    """Features that depend on the whole batch, as the last bits of those of networks do."""

    def forward(self, images):
        found = super().forward(images)
        return found._replace(embedding=normalize(found.embedding + 0.01 * found.embedding.mean(0), dim=1))


@pytest.fixture
def small_chunks(monkeypatch):
    """A batch of 12 pairs, as on a processor, and what is left of the chunk."""
    monkeypatch.setattr(shard, "CHUNK", CHUNK)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards_together_score_as_one_process_does(pairs, shards):
    torch.manual_seed(0)
    model, conditions = ColoursInBatches(), conditions_of(("veil",), (0.3,), ("second", "both"))
    images = pairs.images.copy()
    images[40::4], images[42::4] = images[0:120:4], images[0:118:4]  # which are in several pairs, of other chunks too
    whole = score_conditions(model, images, conditions)
    parts = [
        score_conditions(model, images, conditions, pairs=one.pairs(len(images) // 2))
        for one in shard.EvaluationShard.all(shards)
    ]
    for condition in conditions:
        joined = join_scores([part[condition.name] for part in parts if len(part[condition.name].global_score)])
        for name, column in joined._asdict().items():
            np.testing.assert_array_equal(column, getattr(whole[condition.name], name), err_msg=name)
