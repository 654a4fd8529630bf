"""The largest correlations by the fused kernels of a GPU, where they serve; `correlation` asks here first."""

from __future__ import annotations

import functools
import logging
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

log = logging.getLogger(__name__)

MOST_PROGRAMS = 65_535
"""Most programs of a GPU's grid along its last axis, where groups and their maps are counted."""
MOST_PLACES = 256
"""Most places of a map: a tile holds a whole one."""
ALIGNED = 16
"""Rows are read in pieces of so many channels; zeros fill up the last piece."""
PRODUCTS = (torch.float32, torch.bfloat16, torch.float16)


def serves(probe: Tensor, gallery: Tensor, maps: int, product: torch.dtype) -> bool:
    """Return True if the kernels can compute the maxima of these rows, and do so on this machine.

    Args:
        probe: rows [B, A, S, C].
        gallery: rows [B, R, K, C] or, with candidates, [1, R, G, C].
        maps: K.
        product: type of the factors.
    """
    groups, probes, places = probe.shape[:3]
    fits = max(places, gallery.shape[1]) <= MOST_PLACES and groups * max(probes, maps) <= MOST_PROGRAMS
    known = probe.dtype == torch.float32 and product in PRODUCTS
    return probe.device.type == "cuda" and fits and known and kernels() is not None


@functools.cache
def kernels() -> ModuleType | None:
    """Return the kernels, after they agree with plain torch on this machine's GPU; None, with a line in the log, if
    not.
    """
    try:
        from oaml_core.models import correlation_kernels

        generator = torch.Generator(device="cuda").manual_seed(0)
        rows = torch.randn(2, 3, 49, ALIGNED, device="cuda", generator=generator)
        found = correlation_kernels.largest_correlations(rows, rows.transpose(1, 2), None)[0]
        torch.testing.assert_close(found, torch.einsum("basc,bkrc->basrk", rows, rows).amax(3), rtol=1e-2, atol=1e-2)
    except Exception as error:  # a missing compiler, an old driver and a wrong result have no common base
        log.warning("correlations are computed without fused kernels: %s", error)
        return None
    return correlation_kernels


def fused_maxima(
    probe: Tensor, gallery: Tensor, candidates: Tensor | None, product: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return both directions' maxima, differentiable; arguments and result as in `correlation.correlation_maxima`."""
    over_gallery, over_probe = _FusedMaxima.apply(probe, gallery, candidates, product)
    return over_gallery, over_probe


class _FusedMaxima(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, probe: Tensor, gallery: Tensor, candidates: Tensor | None, product: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        from oaml_core.models.correlation_kernels import largest_correlations

        left, right = _factors(probe, product), _factors(gallery, product)
        over_gallery, best_gallery, over_probe, best_probe = largest_correlations(left, right, candidates)
        # The rows themselves are kept by whoever made them; their factors are made again.
        ctx.save_for_backward(probe, gallery, candidates, best_gallery, best_probe)
        ctx.product = product
        return over_gallery, over_probe

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return a maximum's gradient goes to the two rows whose product it is."""
        from oaml_core.models.correlation_kernels import gather_to_gallery, gather_to_probe

        probe, gallery, candidates, *best = ctx.saved_tensors
        given, places = (gradients[0], gradients[1]), (best[0], best[1])
        to_probe = to_gallery = None
        if ctx.needs_input_grad[0]:
            to_probe = gather_to_probe(_factors(gallery, ctx.product), candidates, given, places)
            to_probe = to_probe[..., : probe.shape[3]]
        if ctx.needs_input_grad[1] and candidates is None:
            to_gallery = gather_to_gallery(_factors(probe, ctx.product), given, places)[..., : probe.shape[3]]
        return to_probe, to_gallery, None, None


def _factors(rows: Tensor, product: torch.dtype) -> Tensor:
    """Return rows as they are multiplied: in the product's type, and whole pieces long."""
    return functional.pad(rows.to(product), (0, -rows.shape[3] % ALIGNED)).contiguous()
