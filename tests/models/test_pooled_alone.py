"""Pooled matching of one vector a face: what describes it, its line, and whom the mean follows."""

from __future__ import annotations

import pytest
import torch
from test_pooled import drawn

from oaml_core.models.pooled import PooledAlone


@pytest.mark.parametrize(("weighting", "counts"), [("none", False), ("evidence", True)])
def test_a_description_leaves_out_what_is_hidden_unless_nothing_is_weighted(weighting, counts) -> None:
    torch.manual_seed(0)
    matcher = PooledAlone(8, (3, 4), embedding_size=5, weighting=weighting).eval()
    maps, hidden = drawn(2, 8, 3, 4), torch.ones(2, 1, 3, 4)
    hidden[:, :, :2] = 0.0
    alike = torch.allclose(matcher.describe(maps, hidden), matcher.describe(maps, torch.ones_like(hidden)))
    assert alike is not counts


def test_the_line_is_that_of_the_scores() -> None:
    matcher = PooledAlone(8, (3, 4), embedding_size=5).eval()
    with torch.no_grad():
        matcher.scale.copy_(torch.tensor([12.0, 3.0]))
        matcher.shift.copy_(torch.tensor([-4.0, 1.0]))
    scale, shift = matcher.line
    assert (scale, shift) == (12.0, -4.0)
    maps, visible = drawn(2, 8, 3, 4), torch.ones(2, 1, 3, 4)
    one, other = matcher.describe(maps, visible).detach()
    score = matcher.match_pairs(maps[:1], maps[1:]).detach()
    assert score.item() == pytest.approx(scale * float(one @ other) + shift, abs=1e-4)


def test_the_mean_follows_the_probes_alone() -> None:
    matcher = PooledAlone(8, (3, 4), embedding_size=5).train()
    matcher.match_pairs(drawn(3, 8, 3, 4), drawn(3, 8, 3, 4, seed=1))
    places = matcher.contributions(drawn(3, 8, 3, 4).flatten(2))
    assert int(matcher.batches.max()) == 1
    torch.testing.assert_close(matcher.mean, places.mean(0))
