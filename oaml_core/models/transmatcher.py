"""TransMatcher (Liao & Shao, "Transformer-Based Deep Image Matching for Generalizable Person Re-identification",
NeurIPS 2021), visibility-weighted."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oaml_core.models.correlation import PlacePrior, at_least_float32, correlate, correlation_maxima
from oaml_core.models.correlation_weighting import (
    Weighting,
    inverse_lengths,
    of_groups,
    of_maps,
    of_probes,
    pair_evidence,
    part,
    penalties,
)
from oaml_core.models.matcher import Matcher, Product
from oaml_core.models.transmatcher_layers import Decoder, DecoderLayer, EncoderLayer, Rows
from oaml_core.registry import register_matcher

LARGEST_WIDTH = 512
"""d_model of the paper; maps with more channels are projected to it."""


class LayeredSide(NamedTuple):
    """One of the two sets of N maps: what each decoder layer compares, and what is visible."""

    layers: tuple[Rows, ...]
    penalty: Tensor | None
    """[N, hw], what a place's own visibility takes from its correlations, in units of the largest."""
    visibility: Tensor | None


@register_matcher("transmatcher")
class TransMatcher(Matcher):
    """Compares maps by layers of cross-matching, on features that attend to one another within their map.

    Layer i of the decoder compares the i-th stage of the encoder: the places themselves, then those after each
    encoder layer. It correlates query and key, weights each pair of places by a learned affinity and lets a small
    network score the maxima of both directions (`DecoderLayer`); the scores of all layers are added and normalised.
    The decoder's state has the published names (`decoder.layers.*`, `decoder.norm`).

    Visibility enters by the formulas of `correlation_weighting`. Correlations here are no cosines: they lie within
    ± (longest query of the probe) · (longest key of the gallery map), so penalties are multiples of that product,
    and places that are not visible at all count in neither length. In the encoder a place is attended to in
    proportion to its visibility, so that an invisible one changes nothing but itself. `multiply` weights the
    correlations before the maximum.

    Training keeps 10 bytes per pair, place and layer; the feed-forward networks of pairs are recomputed in blocks.
    The arguments are those of every `Matcher`, and the number of decoder layers.

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> matcher = oaml.TransMatcher(channels=8, map_size=(3, 3)).eval()
        >>> maps = torch.rand(2, 8, 3, 3)
        >>> matcher.match(maps, maps).shape
        torch.Size([2, 2])
    """

    prepared_at_once = 256 * 2**20

    def __init__(
        self,
        channels: int,
        map_size: tuple[int, int],
        *,
        weighting: Weighting = "evidence",
        product: Product = "fp32",
        num_layers: int = 3,
    ) -> None:
        super().__init__(channels, map_size, weighting=weighting, product=product)
        width, places = min(channels, LARGEST_WIDTH), map_size[0] * map_size[1]
        self.project = nn.Identity() if width == channels else nn.Linear(channels, width)
        self.encoder = nn.ModuleList(EncoderLayer(width, 4 * width) for _ in range(num_layers - 1))
        self.decoder = Decoder(places, width, 4 * width, num_layers)

    def _match(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left = self._encoded(probe, v)
        right = left if gallery is probe and u is v else self._encoded(gallery, u)
        prior = of_probes(left.penalty), of_maps(right.penalty)
        layers = [
            (x.unit[None], y.unit.transpose(0, 1)[None], x.length[:, None] * y.length)
            for x, y in zip(left.layers, right.layers, strict=True)
        ]
        return self._learn(layers, prior, (of_probes(v), of_maps(u)))[0]

    def _match_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left, right = self._encoded(probe, v), self._encoded(gallery, u)
        prior = of_groups(left.penalty), of_groups(right.penalty)
        layers = [
            (x.unit[:, None], y.unit[:, :, None], (x.length * y.length)[:, None, None])
            for x, y in zip(left.layers, right.layers, strict=True)
        ]
        return self._learn(layers, prior, (of_groups(v), of_groups(u)))[:, 0, 0]

    def _match_candidates(self, probe: Tensor, gallery: Tensor, candidates: Tensor, v: Tensor | None) -> Tensor:
        left = self._encoded(probe, v)
        with torch.no_grad():
            right = self._encoded(gallery, None)
        layers = [
            (x.unit[:, None], y.unit.transpose(0, 1)[None], x.length[:, None, None] * y.length[candidates][:, None])
            for x, y in zip(left.layers, right.layers, strict=True)
        ]
        return self._learn(layers, (of_groups(left.penalty), None), (of_groups(v), None), candidates)[:, 0]

    def _learn(
        self,
        layers: list[tuple[Tensor, Tensor, Tensor]],
        penalty: tuple[Tensor | None, Tensor | None],
        visible: tuple[Tensor | None, Tensor | None],
        candidates: Tensor | None = None,
    ) -> Tensor:
        """Return scores [B, A, K]; each layer has probe rows, gallery rows and the pairs' largest correlation [B, A,
        K].
        """
        total: list[Tensor] = []
        for layer, (probe, gallery, largest) in zip(self.decoder, layers, strict=True):
            prior = PlacePrior(layer.log_affinity(), *penalty)
            maxima = correlation_maxima(probe, gallery, candidates, self._product_type(probe), prior)
            total.append(self._score_layer(layer, maxima, largest, visible))
        return self.decoder.normalised(total)

    def _score_layer(
        self,
        layer: DecoderLayer,
        maxima: tuple[Tensor, Tensor],
        largest: Tensor,
        visible: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        over_gallery, over_probe = (m * largest.unsqueeze(-2) for m in maxima)
        return layer.score(over_gallery, over_probe, pair_evidence(self.weighting, over_gallery, *visible))

    def _stages(self, maps: Tensor, visibility: Tensor | None) -> list[Tensor]:
        """Return features [N, hw, d] that the layers of the decoder compare."""
        places = maps.transpose(1, 2) * inverse_lengths(maps).transpose(1, 2) * math.sqrt(maps.shape[1])
        stages = [self.project(places)]
        for encode in self.encoder:
            stages.append(encode(stages[-1], visibility))
        return stages

    def _encoded(self, maps: Tensor, visibility: Tensor | None) -> LayeredSide:
        stages = self._stages(maps, visibility)
        layers = [layer.rows(x, visibility) for layer, x in zip(self.decoder, stages, strict=True)]
        if self.weighting == "multiply":
            if visibility is not None:
                layers = [Rows(x.unit * visibility[..., None], x.length) for x in layers]
            return LayeredSide(tuple(layers), None, visibility)
        return LayeredSide(tuple(layers), None if visibility is None else penalties(visibility), visibility)

    def _score_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left, right = self._encoded(probe, v), self._encoded(gallery, u)
        product = self._product_type(probe)
        scores = []
        for layer, x, y in zip(self.decoder, left.layers, right.layers, strict=True):
            c = at_least_float32(x.unit.to(product) @ y.unit.transpose(1, 2).to(product))  # [N, S, R]
            c = c * layer.log_affinity().exp()
            over_gallery = (c if right.penalty is None else c - right.penalty[:, None]).amax(2)
            over_probe = (c if left.penalty is None else c - left.penalty[:, :, None]).amax(1)
            maxima = over_gallery[:, None, :, None], over_probe[:, None, :, None]
            largest = (x.length * y.length)[:, None, None]
            scores.append(self._score_layer(layer, maxima, largest, (of_groups(v), of_groups(u))))
        return self.decoder.normalised(scores)[:, 0, 0]

    def _prepared(self, maps: Tensor, visibility: Tensor | None, *, gallery: bool = False) -> LayeredSide:
        side, product = self._encoded(maps, visibility), self._product_type(maps)
        units = (x.unit.transpose(0, 1).flatten(0, 1) if gallery else x.unit for x in side.layers)
        layers = (Rows(unit.to(product), x.length) for unit, x in zip(units, side.layers, strict=True))
        return side._replace(layers=tuple(layers))

    def _score_block(self, probe: LayeredSide, rows: slice, gallery: LayeredSide) -> Tensor:
        p, g = of_probes(part(probe.penalty, rows)), of_maps(gallery.penalty)
        visible = of_probes(part(probe.visibility, rows)), of_maps(gallery.visibility)
        scores = []
        for layer, x, y in zip(self.decoder, probe.layers, gallery.layers, strict=True):
            c = correlate(x.unit[None, rows], y.unit[None], x.unit.shape[1])
            c = c.mul_(layer.log_affinity().exp()[:, :, None])
            over_gallery = (c if g is None else c - g[:, :, None]).amax(3)
            over_probe = (c if p is None else c - p[:, :, :, None]).amax(2)
            largest = (x.length[rows, None] * y.length)[None]
            scores.append(self._score_layer(layer, (over_gallery, over_probe), largest, visible))
        return self.decoder.normalised(scores)[0]
