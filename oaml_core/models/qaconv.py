"""QAConv 2.1 (Liao & Shao 2020, with the batch normalisations of its published V1.3.1), visibility-weighted."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.errors import ModelInputError
from oaml_core.models.correlation import correlation_maxima
from oaml_core.models.matcher import Matcher

EPSILON = 1e-6


class QAConv(Matcher):
    """Correlates every place with every place and scores the best matches of both directions.

    Unweighted: m(s) = max_r c[s, r], m(r) = max_s c[s, r], score = logit_bn(Σ over both directions of fc(bn(m))).

    Weighting by visibility, w = v_probe(s) · v_gallery(r):

    - `evidence`: maxima of w·(c + 1) − 1, so that an invisible pair of places has the least cosine, −1, and never
      wins; then each place's bn(m) counts by its own visibility v, and Σ_s f_s·v_s·x_s is scaled by hw / Σ_s v_s. Where
      nothing is visible the sum is 0, the score is logit_bn(2·fc.bias): no evidence either way.
    - `multiply`: maxima of w·c, as specified. An invisible place scores 0, which beats negative correlations.

    Args:
        channels: C of the maps, checked.
        map_size: (h, w) of the maps; fc has a weight for each place.
        weighting: one of the rules above.
    """

    def __init__(
        self, channels: int, map_size: tuple[int, int], *, weighting: Literal["evidence", "multiply"] = "evidence"
    ) -> None:
        super().__init__()
        self.channels = channels
        self.map_size = map_size
        self.weighting = weighting
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
        probe, gallery = self._unit(probe), self._unit(gallery)
        seen = self._seen(probe_visibility), self._seen(gallery_visibility)
        shift = 1.0 if self.weighting == "evidence" else 0.0
        with torch.autocast(probe.device.type, enabled=False):
            by_probe, by_gallery = correlation_maxima(probe, gallery, *seen, shift)
            return self._score(
                by_probe,
                by_gallery,
                None if seen[0] is None else seen[0][:, None],
                None if seen[1] is None else seen[1][None],
            )

    def match_pairs(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        probe, gallery = self._unit(probe), self._unit(gallery)
        if len(probe) != len(gallery):
            raise ModelInputError(
                f"match_pairs takes as many probes as gallery maps, not {len(probe)} and {len(gallery)}."
            )
        v, u = self._seen(probe_visibility), self._seen(gallery_visibility)
        correlation = probe.transpose(1, 2) @ gallery  # [N, S, R]
        if v is not None and u is not None:
            weight = v[:, :, None] * u[:, None, :]
            correlation = correlation * weight
            if self.weighting == "evidence":
                correlation = correlation + (weight - 1)
        return self._score(correlation.amax(2)[None], correlation.amax(1)[None], v, u)[0]

    def _score(self, by_probe: Tensor, by_gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        """[A, B] from maxima [A, B, hw] of both directions and the visibility of their places."""
        maxima = torch.stack([by_probe, by_gallery], dim=2)  # [A, B, 2, hw]
        shape = maxima.shape
        x = self.bn(maxima.reshape(-1, 1, shape[-1])).view(shape)
        if v is not None and u is not None and self.weighting == "evidence":
            x = torch.stack([x[:, :, 0] * _balanced(v), x[:, :, 1] * _balanced(u)], dim=2)
        total = self.fc(x).sum(2)  # [A, B, 1]
        return self.logit_bn(total.view(-1, 1)).view(shape[:2])

    def _unit(self, maps: Tensor) -> Tensor:
        """[B, C, hw], unit length over channels."""
        if maps.ndim != 4 or maps.shape[1] != self.channels or tuple(maps.shape[2:]) != tuple(self.map_size):
            expected = f"[B, {self.channels}, {self.map_size[0]}, {self.map_size[1]}]"
            raise ModelInputError(f"This matcher takes feature maps {expected}, not {list(maps.shape)}.")
        return functional.normalize(_at_least_float32(maps).flatten(2), dim=1)

    def _seen(self, visibility: Tensor | None) -> Tensor | None:
        """[B, hw] of [B, 1, h, w]."""
        if visibility is None:
            return None
        if visibility.ndim != 4 or tuple(visibility.shape[1:]) != (1, *self.map_size):
            raise ModelInputError(
                f"Visibility maps are [B, 1, {self.map_size[0]}, {self.map_size[1]}], not {list(visibility.shape)}."
            )
        return _at_least_float32(visibility).flatten(1)


def _at_least_float32(x: Tensor) -> Tensor:
    """Half precision is too coarse for sums over places and for the batch normalisation of scores."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _balanced(visibility: Tensor) -> Tensor:
    """Visibility over its mean: what is seen counts for all. 0 where nothing is seen, and 1 where all is."""
    return visibility / visibility.mean(-1, keepdim=True).clamp_min(EPSILON)
