"""QAConv 2.1 (Liao & Shao 2020, with the batch normalisations of its published V1.3.1), visibility-weighted."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from oaml_core.models.correlation import at_least_float32, correlate, correlation_maxima, slices
from oaml_core.models.correlation_itself import maxima_of_itself
from oaml_core.models.correlation_weighting import (
    WeightedSide,
    Weighting,
    inverse_lengths,
    normalisation,
    of_groups,
    of_maps,
    of_probes,
    pair_evidence,
    part,
    penalties,
    weighted_side,
)
from oaml_core.models.matcher import Matcher, Product
from oaml_core.models.pair_cosines import few_with_many_cosines, pair_cosines
from oaml_core.registry import register_matcher

PAIRS_AT_ONCE = 192
"""Pairs whose correlations a processor holds at a time: 2 MiB of them."""
FEW_PROBES = 4
"""Most probes that are compared with gallery maps as these are: rows for a larger product cost more."""


class _Prepared(NamedTuple):
    """One side of a block: rows as the matrix product takes them."""

    rows: Tensor
    penalty: Tensor | None
    visibility: Tensor | None


@register_matcher("qaconv")
class QAConv(Matcher):
    """Correlates every place with every place and scores the best matches of both directions.

    With cosines c[s, r] of probe place s and gallery place r: m(s) = max_r c, m(r) = max_s c, and
    score = logit_bn(Σ over both directions and all places of fc · bn(m)). `correlation_weighting` has the formulas by
    which visibility enters. Without any evidence (nothing is visible on one side, or nowhere on both) the `evidence`
    score is logit_bn(2·fc.bias): that of a pair whose maxima are all mapped to 0 by bn, the average pair of places;
    before training bn is the identity, and it is the score of maps without any correlation, the lowest but for
    negative ones.

    In training the two batch normalisations use the statistics of all maxima of the call, each weighted by its
    evidence, so that what is occluded does not move them; in evaluation the running ones. The state dict has the
    published names (`bn.*`, `fc.*`, `logit_bn.*`).

    Training keeps 10 bytes per pair and place. The arguments are those of every `Matcher`; fc has a weight for each
    place of the map.

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> matcher = oaml.QAConv(channels=8, map_size=(3, 3)).eval()
        >>> maps, visible = torch.rand(4, 8, 3, 3), torch.ones(4, 1, 3, 3)
        >>> matcher.match(maps, maps, visible, visible).shape
        torch.Size([4, 4])
    """

    scores_alike_in_bfloat16 = True

    def __init__(
        self,
        channels: int,
        map_size: tuple[int, int],
        *,
        weighting: Weighting = "evidence",
        product: Product = "fp32",
    ) -> None:
        super().__init__(channels, map_size, weighting=weighting, product=product)
        places = map_size[0] * map_size[1]
        self.bn = nn.BatchNorm1d(1)
        self.fc = nn.Linear(places, 1)
        self.logit_bn = nn.BatchNorm1d(1)
        # All places count alike at first, so that an untrained matcher ranks by the mean best correlation.
        nn.init.constant_(self.fc.weight, 1 / places)
        nn.init.zeros_(self.fc.bias)

    def _match(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left, product = self._side(probe, v), self._product_type(probe)
        right = left
        if gallery is probe and u is v and probe.device.type == "cpu":
            maxima = maxima_of_itself(left.rows, turned=self.weighting == "evidence", product=product)
        else:
            right = self._side(gallery, u, gallery=True)
            maxima = correlation_maxima(left.rows[None], right.rows.transpose(0, 1)[None], product=product)
        given_back = of_probes(left.penalty), of_maps(right.penalty)
        return self._scores(maxima, given_back, of_probes(v), of_maps(u))[0]

    def _match_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left, right = self._side(probe, v), self._side(gallery, u, gallery=True)
        maxima = correlation_maxima(left.rows[:, None], right.rows[:, :, None], product=self._product_type(probe))
        given_back = of_groups(left.penalty), of_groups(right.penalty)
        return self._scores(maxima, given_back, of_groups(v), of_groups(u))[:, 0, 0]

    def _match_candidates(self, probe: Tensor, gallery: Tensor, candidates: Tensor, v: Tensor | None) -> Tensor:
        left, right = self._side(probe, v), self._side(gallery, None, gallery=True)
        maxima = correlation_maxima(
            left.rows[:, None], right.rows.transpose(0, 1)[None], candidates, self._product_type(probe)
        )
        return self._scores(maxima, (of_groups(left.penalty), None), of_groups(v), None)[:, 0]

    def _side(self, maps: Tensor, visibility: Tensor | None, *, gallery: bool = False) -> WeightedSide:
        return weighted_side(maps, visibility, self.weighting, self._product_type(maps), gallery=gallery)

    def _prepared(self, maps: Tensor, visibility: Tensor | None, *, gallery: bool = False) -> _Prepared:
        side = self._side(maps, visibility, gallery=gallery)
        rows = side.rows.transpose(0, 1).flatten(0, 1) if gallery else side.rows
        return _Prepared(rows.to(self._product_type(maps))[None], side.penalty, visibility)

    def _score_block(self, probe: _Prepared, rows: slice, gallery: _Prepared) -> Tensor:
        c = correlate(probe.rows[:, rows], gallery.rows, probe.rows.shape[2])
        given_back = of_probes(part(probe.penalty, rows)), of_maps(gallery.penalty)
        v, u = of_probes(part(probe.visibility, rows)), of_maps(gallery.visibility)
        return self._scores((c.amax(3), c.amax(2)), given_back, v, u)[0]

    def _match_in_blocks(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        if probe.device.type != "cpu" or len(probe) > FEW_PROBES:
            return super()._match_in_blocks(probe, gallery, v, u)
        scores = probe.new_empty((len(gallery), len(probe)))
        for some in slices(len(gallery), max(1, PAIRS_AT_ONCE // max(1, len(probe)))):
            cosines = few_with_many_cosines(probe, gallery[some], self._product_type(probe))
            shape = cosines.shape[:3]
            left = None if v is None else v.expand(shape).flatten(0, 1)
            right = None if u is None else u[some, None].expand(shape).flatten(0, 1)
            scores[some] = self._score_cosines(cosines.flatten(0, 1), left, right).view(shape[:2])
        return scores.T.contiguous()

    def _match_pairs_in_blocks(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        if probe.device.type != "cpu":
            return super()._match_pairs_in_blocks(probe, gallery, v, u)
        scores = probe.new_empty(len(probe))
        for some in slices(len(probe), PAIRS_AT_ONCE):
            cosines = pair_cosines(probe[some], gallery[some], self._product_type(probe))
            scores[some] = self._score_cosines(cosines, part(v, some), part(u, some))
        return scores

    def _score_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        # Correlations are fewer than features here: it is they that are divided by the lengths.
        product = self._product_type(probe)
        c = at_least_float32(probe.transpose(1, 2).to(product) @ gallery.to(product))  # [N, S, R]
        c = c * inverse_lengths(probe).transpose(1, 2) * inverse_lengths(gallery)
        return self._score_cosines(c, v, u)

    def _score_cosines(self, c: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        """Return scores [N] of the cosines [N, S, R] of pairs."""
        given_back: tuple[Tensor | None, Tensor | None] = None, None
        if self.weighting == "multiply":
            c = c if v is None else c * v[:, :, None]
            c = c if u is None else c * u[:, None]
        elif self.weighting == "evidence" and (v is not None or u is not None):
            q, r = (None if x is None else penalties(x) for x in (v, u))
            c = c if q is None else c - q[:, :, None]
            c = c if r is None else c - r[:, None]
            given_back = of_groups(q), of_groups(r)
        maxima = c.amax(2)[:, None, :, None], c.amax(1)[:, None, :, None]
        return self._scores(maxima, given_back, of_groups(v), of_groups(u))[:, 0, 0]

    def _scores(
        self,
        maxima: tuple[Tensor, Tensor],
        given_back: tuple[Tensor | None, Tensor | None],
        v: Tensor | None,
        u: Tensor | None,
    ) -> Tensor:
        """Return scores [B, A, K] from both directions' maxima [B, A, hw, K].

        Args:
            maxima: of each probe place over the gallery's, of each gallery place over the probe's.
            given_back: to be added to them.
            v: visibility of the probe's places, u: of the gallery's; all broadcast to [B, A, hw, K].
        """
        over_gallery, over_probe = (m if q is None else m + q for m, q in zip(maxima, given_back, strict=True))
        weight = pair_evidence(self.weighting, over_gallery, v, u)
        scale, shift = normalisation(self.bn, over_gallery, over_probe, weight)
        x = (over_gallery + over_probe) * scale + 2 * shift
        if weight is not None:
            x = x * weight
        total = (x * self.fc.weight.view(-1, 1)).sum(2) + 2 * self.fc.bias
        result: Tensor = self.logit_bn(total.view(-1, 1)).view(total.shape)
        return result
