"""The largest correlation of every place with any place of the other map, in both directions.

For probe maps [P, C, s] and gallery maps [G, C, r] (places flattened, unit length over channels) the correlation
is c[p, g, s, r] = Σ_c probe[p, c, s] · gallery[g, c, r]. Only its maxima over r and over s, and where they are, are
kept: O(P·G·2hw) instead of O(P·G·hw²). Correlations exist for one block of probes at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK_BYTES = 64 * 2**20
"""Budget for the correlations of one block."""


def correlation_maxima(
    probe: Tensor,
    gallery: Tensor,
    probe_visibility: Tensor | None,
    gallery_visibility: Tensor | None,
    shift: float,
) -> tuple[Tensor, Tensor]:
    """Maxima of the weighted correlation w·(c + shift) − shift, w = visibility_probe(s) · visibility_gallery(r).

    With shift 1, cosines of invisible places become −1, the least there is; with shift 0 they become 0.

    Args:
        probe: [P, C, S], gallery: [G, C, R].
        probe_visibility: [P, S] in [0, 1], gallery_visibility: [G, R]; both or none.

    Returns:
        Maxima over the gallery's places [P, G, S], and over the probe's places [P, G, R].
    """
    if probe_visibility is None or gallery_visibility is None:
        probe_visibility = gallery_visibility = None
    over_gallery, over_probe = _CorrelationMaxima.apply(probe, gallery, probe_visibility, gallery_visibility, shift)
    return over_gallery, over_probe


class _CorrelationMaxima(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None,
        gallery_visibility: Tensor | None,
        shift: float,
    ) -> tuple[Tensor, Tensor]:
        flat_gallery = gallery.transpose(0, 1).flatten(1)  # [C, G·R]
        maxima, where = [], []
        for block in _blocks(probe, gallery):
            correlation = _weighted(
                _correlation(probe[block], flat_gallery, len(gallery)),
                None if probe_visibility is None else probe_visibility[block],
                gallery_visibility,
                shift,
            )
            over_gallery, over_probe = correlation.max(3), correlation.max(1)
            maxima.append((over_gallery.values.transpose(1, 2), over_probe.values))
            where.append((over_gallery.indices, over_probe.indices))
        ctx.save_for_backward(
            probe,
            gallery,
            probe_visibility,
            gallery_visibility,
            *(torch.cat(parts).to(torch.int16) for parts in zip(*where, strict=True)),
        )
        over_gallery_maxima, over_probe_maxima = (torch.cat(parts) for parts in zip(*maxima, strict=True))
        return over_gallery_maxima, over_probe_maxima

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Each maximum's gradient goes to the pair of places that it came from; visibility has none."""
        probe, gallery, probe_visibility, gallery_visibility, best_gallery, best_probe = ctx.saved_tensors
        to_probe, to_gallery = torch.empty_like(probe), torch.zeros_like(gallery)
        flat_gallery = gallery.transpose(1, 2).flatten(0, 1)  # [G·R, C]
        for block in _blocks(probe, gallery):
            part = probe[block]
            gradient = probe.new_zeros((len(part), part.shape[2], len(gallery), gallery.shape[2]))
            gradient.scatter_add_(
                3, best_gallery[block].long()[..., None], gradients[0][block].transpose(1, 2)[..., None]
            )
            gradient.scatter_add_(1, best_probe[block].long()[:, None], gradients[1][block][:, None])
            if probe_visibility is not None:
                gradient *= probe_visibility[block][:, :, None, None]
                gradient *= gallery_visibility
            flat = gradient.flatten(2).flatten(0, 1)  # [p·S, G·R]
            to_probe[block] = (flat @ flat_gallery).unflatten(0, (len(part), -1)).transpose(1, 2)
            flat_probe = part.transpose(1, 2).flatten(0, 1)  # [p·S, C]
            to_gallery += (flat.T @ flat_probe).unflatten(0, (len(gallery), -1)).transpose(1, 2)
        return to_probe, to_gallery, None, None, None


def _correlation(probe: Tensor, flat_gallery: Tensor, galleries: int) -> Tensor:
    """[p, S, G, R] as one matrix product."""
    flat = probe.transpose(1, 2).flatten(0, 1) @ flat_gallery
    return flat.unflatten(1, (galleries, -1)).unflatten(0, (len(probe), -1))


def _weighted(
    correlation: Tensor, probe_visibility: Tensor | None, gallery_visibility: Tensor | None, shift: float
) -> Tensor:
    """w·c − shift·(1 − w), in place; exactly c where w is 1."""
    if probe_visibility is None or gallery_visibility is None:
        return correlation
    weight = probe_visibility[:, :, None, None] * gallery_visibility
    correlation *= weight
    return correlation.add_(weight.sub_(1), alpha=shift) if shift else correlation


def _blocks(probe: Tensor, gallery: Tensor) -> list[slice]:
    """Slices of the probes whose correlations fit the budget."""
    each = probe.shape[2] * gallery.shape[0] * gallery.shape[2] * probe.element_size()
    count = max(1, BLOCK_BYTES // max(1, each))
    return [slice(start, start + count) for start in range(0, len(probe), count)]
