"""QAConv 2.1 (Liao & Shao 2020, with the batch normalisations of its published V1.3.1), visibility-weighted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oaml_core.models.correlation import BlockSize, at_least_float32, block_bytes, correlate, correlation_maxima, slices
from oaml_core.models.correlation_weighting import Side, Weighting, evidence, inverse_lengths, penalties, weighted_side
from oaml_core.models.matcher import Matcher, Product, check_as_many, check_candidates

ROWS_BYTES = 128 * 2**20
"""Budget for probe rows that evaluation prepares at a time."""
PAIRS_BYTES = 2 * 2**20
"""Budget for the probe maps of pairs that are compared at a time: a processor reads them twice, from its cache."""


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

    Evaluation (`eval()` and no gradient) holds one block of correlations at a time and nothing else that grows with
    P·G but the scores. Training keeps maxima and their places, 10 bytes a pair and place, and no correlations.

    Args:
        channels: C of the maps, checked.
        map_size: (h, w) of the maps; fc has a weight for each place.
        weighting: one of the rules in `correlation_weighting`.
        product: type of the factors of correlations. `bf16` is about twice as fast on processors with such
            instructions; each correlation is then off by at most 0.006.
    """

    def __init__(
        self,
        channels: int,
        map_size: tuple[int, int],
        *,
        weighting: Weighting = "evidence",
        product: Product = "fp32",
    ) -> None:
        super().__init__(channels, map_size)
        self.weighting = weighting
        self.product = product
        places = map_size[0] * map_size[1]
        self.bn = nn.BatchNorm1d(1)
        self.fc = nn.Linear(places, 1)
        self.logit_bn = nn.BatchNorm1d(1)
        # All places count alike at first, so that an untrained matcher ranks by the mean best correlation.
        nn.init.constant_(self.fc.weight, 1 / places)
        nn.init.zeros_(self.fc.bias)

    def match(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        probe, gallery, v, u = self._checked(probe, gallery, probe_visibility, gallery_visibility)
        with torch.autocast(probe.device.type, enabled=False):
            if self._only_scores_needed(probe, gallery):
                return self._match_in_blocks(probe, gallery, v, u)
            left, right = self._side(probe, v), self._side(gallery, u, gallery=True)
            maxima = correlation_maxima(
                left.rows[None], right.rows.transpose(0, 1)[None], product=self._product_type(probe)
            )
            given_back = _probes(left.penalty), _maps(right.penalty)
            return self._scores(maxima, given_back, _probes(v), _maps(u))[0]

    def match_pairs(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        probe, gallery, v, u = self._checked(probe, gallery, probe_visibility, gallery_visibility)
        check_as_many(probe, gallery)
        with torch.autocast(probe.device.type, enabled=False):
            if torch.compiler.is_compiling():
                return self._score_pairs(probe, gallery, v, u)
            if self._only_scores_needed(probe, gallery):
                return self._match_pairs_in_blocks(probe, gallery, v, u)
            left, right = self._side(probe, v), self._side(gallery, u, gallery=True)
            maxima = correlation_maxima(left.rows[:, None], right.rows[:, :, None], product=self._product_type(probe))
            given_back = _groups(left.penalty), _groups(right.penalty)
            return self._scores(maxima, given_back, _groups(v), _groups(u))[:, 0, 0]

    def match_candidates(
        self, probe: Tensor, gallery: Tensor, candidates: Tensor, probe_visibility: Tensor | None = None
    ) -> Tensor:
        probe, gallery, v, _ = self._checked(probe, gallery, probe_visibility, None)
        check_candidates(candidates, len(probe), len(gallery))
        with torch.autocast(probe.device.type, enabled=False):
            left, right = self._side(probe, v), self._side(gallery.detach(), None, gallery=True)
            maxima = correlation_maxima(
                left.rows[:, None], right.rows.transpose(0, 1)[None], candidates, self._product_type(probe)
            )
            return self._scores(maxima, (_groups(left.penalty), None), _groups(v), None)[:, 0]

    def _checked(
        self, probe: Tensor, gallery: Tensor, probe_visibility: Tensor | None, gallery_visibility: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Maps [B, C, hw] and visibility [B, hw], on both sides or none."""
        probe, gallery = self._places(probe, "probe"), self._places(gallery, "gallery")
        v, u = self._visible(probe_visibility, probe, "probe"), self._visible(gallery_visibility, gallery, "gallery")
        return probe, gallery, v, u

    def _only_scores_needed(self, probe: Tensor, gallery: Tensor) -> bool:
        """No gradient will be asked for, and the batch normalisations need not see all maxima at once."""
        learns = torch.is_grad_enabled() and any(x.requires_grad for x in (probe, gallery, *self.parameters()))
        return not self.training and not learns

    def _product_type(self, maps: Tensor) -> torch.dtype:
        return torch.bfloat16 if self.product == "bf16" else maps.dtype

    def _side(self, maps: Tensor, visibility: Tensor | None, *, gallery: bool = False) -> Side:
        return weighted_side(maps, visibility, self.weighting, self._product_type(maps), gallery=gallery)

    def _match_in_blocks(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        places, product = probe.shape[2], self._product_type(probe)
        scores = probe.new_empty((len(probe), len(gallery)))
        size = BlockSize.within(block_bytes(probe.device), len(gallery), places**2 * probe.element_size())
        at_once = max(1, ROWS_BYTES // (probe[:1].numel() * probe.element_size()))
        for some in slices(len(probe), at_once):
            left = self._side(probe[some], _part(v, some))
            left_rows = left.rows.to(product)[None]
            for maps in slices(len(gallery), size.maps):
                right = self._side(gallery[maps], _part(u, maps), gallery=True)
                right_rows = right.rows.transpose(0, 1).flatten(0, 1).to(product)[None]
                for block in slices(left_rows.shape[1], size.probes):
                    c = correlate(left_rows[:, block], right_rows, places)
                    scores[some][block, maps] = self._scores(
                        (c.amax(3), c.amax(2)),
                        (_probes(_part(left.penalty, block)), _maps(right.penalty)),
                        _probes(_part(_part(v, some), block)),
                        _maps(_part(u, maps)),
                    )[0]
        return scores

    def _match_pairs_in_blocks(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        scores = probe.new_empty(len(probe))
        budget = PAIRS_BYTES if probe.device.type == "cpu" else ROWS_BYTES
        for some in slices(len(probe), max(1, budget // (probe[:1].numel() * probe.element_size()))):
            scores[some] = self._score_pairs(probe[some], gallery[some], _part(v, some), _part(u, some))
        return scores

    def _score_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        """[N] without blocks. Here correlations are fewer than features: they are divided by the lengths."""
        product = self._product_type(probe)
        c = at_least_float32(probe.transpose(1, 2).to(product) @ gallery.to(product))  # [N, S, R]
        c = c * inverse_lengths(probe).transpose(1, 2) * inverse_lengths(gallery)
        given_back: tuple[Tensor | None, Tensor | None] = None, None
        if self.weighting == "multiply":
            c = c if v is None else c * v[:, :, None]
            c = c if u is None else c * u[:, None]
        elif v is not None or u is not None:
            q, r = (None if x is None else penalties(x) for x in (v, u))
            c = c if q is None else c - q[:, :, None]
            c = c if r is None else c - r[:, None]
            given_back = _groups(q), _groups(r)
        maxima = c.amax(2)[:, None, :, None], c.amax(1)[:, None, :, None]
        return self._scores(maxima, given_back, _groups(v), _groups(u))[:, 0, 0]

    def _scores(
        self,
        maxima: tuple[Tensor, Tensor],
        given_back: tuple[Tensor | None, Tensor | None],
        v: Tensor | None,
        u: Tensor | None,
    ) -> Tensor:
        """Scores [B, A, K] from both directions' maxima [B, A, hw, K].

        Args:
            maxima: of each probe place over the gallery's, of each gallery place over the probe's.
            given_back: to be added to them.
            v: visibility of the probe's places, u: of the gallery's; all broadcast to [B, A, hw, K].
        """
        over_gallery, over_probe = (m if q is None else m + q for m, q in zip(maxima, given_back, strict=True))
        weight = None
        if self.weighting == "evidence" and (v is not None or u is not None):
            one = over_gallery.new_ones(())
            weight = evidence(one if v is None else v, one if u is None else u)
        scale, shift = self._normalisation(over_gallery, over_probe, weight)
        x = (over_gallery + over_probe) * scale + 2 * shift
        if weight is not None:
            x = x * weight
        total = (x * self.fc.weight.view(-1, 1)).sum(2) + 2 * self.fc.bias
        return self.logit_bn(total.view(-1, 1)).view(total.shape)

    def _normalisation(self, one: Tensor, other: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift of `bn`, from the weighted statistics of both maxima in training."""
        bn = self.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        mean, variance = bn.running_mean, bn.running_var
        if self.training:
            count = 2 * (one.new_tensor(one.numel()) if weight is None else weight.expand_as(one).sum())
            mean = _weighted_sum(one + other, weight) / count.clamp_min(1)
            variance = _weighted_sum((one - mean).square() + (other - mean).square(), weight) / count.clamp_min(1)
            with torch.no_grad():
                assert bn.num_batches_tracked is not None
                assert bn.momentum is not None
                bn.num_batches_tracked += 1
                unbiased = variance * count / (count - 1).clamp_min(1)
                bn.running_mean.lerp_(mean.to(bn.running_mean.dtype).view(1), bn.momentum)
                bn.running_var.lerp_(unbiased.to(bn.running_var.dtype).view(1), bn.momentum)
        scale = bn.weight * (variance + bn.eps).rsqrt()
        return scale, bn.bias - mean * scale


def _weighted_sum(x: Tensor, weight: Tensor | None) -> Tensor:
    return (x if weight is None else x * weight).sum()


def _part(x: Tensor | None, rows: slice) -> Tensor | None:
    return None if x is None else x[rows]


def _probes(x: Tensor | None) -> Tensor | None:
    """[1, P, hw, 1] of [P, hw]: the same for all gallery maps."""
    return None if x is None else x[None, :, :, None]


def _maps(x: Tensor | None) -> Tensor | None:
    """[hw, G] of [G, hw]: the same for all probes."""
    return None if x is None else x.T


def _groups(x: Tensor | None) -> Tensor | None:
    """[N, 1, hw, 1] of [N, hw]: one for each group."""
    return None if x is None else x[:, None, :, None]
