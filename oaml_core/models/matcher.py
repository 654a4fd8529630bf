"""What a local matcher is, and the one that a configuration names."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from oaml_core.errors import ModelInputError
from oaml_core.host_range import host_range
from oaml_core.models.correlation import BlockSize, at_least_float32, block_bytes, slices
from oaml_core.models.correlation_weighting import Weighting, part
from oaml_core.visibility import resize_visibility

Product = Literal["auto", "fp32", "bf16"]
"""Type of the factors in a matcher's large matrix products; they are summed in float32 in any case."""


@functools.cache
def is_fast_in_bfloat16(device_type: str) -> bool:
    """Return True if devices of this type have instructions for bfloat16 products (AVX-512 BF16, AMX, Ampere)."""
    if device_type == "cuda":
        result: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return result
    able = torch.cpu.get_capabilities()
    return device_type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class Matcher(nn.Module, ABC):
    """Compares feature maps place by place, raw ones: what has to be normalised over channels is normalised here.

    Visibility maps are [B, 1, h, w] in [0, 1], 1 = visible, or finer: then the mean over each place counts. A side
    without one is all visible. They weight the
    comparison, unless `weighting` is `none`. They get no gradient from it, unless `trains_visibility` is set.
    `correlation_weighting` has the formulas.

    Evaluation (`eval()` and no gradient) holds one block of correlations at a time and nothing else that grows with
    P·G but the scores. Training keeps maxima and their places, no correlations.

    Args:
        channels: C of the maps.
        map_size: (h, w) of the maps.
        weighting: how visibility enters.
        product: type of the factors of correlations. `bf16` is about twice as fast on processors with such
            instructions; each correlation of unit vectors is then off by at most 0.006. `auto`: bf16 in evaluation
            where the device has such instructions and the matcher `scores_alike_in_bfloat16`, else fp32. Traced and
            exported matchers stay in fp32.
    """

    keeps_lengths = False
    """Whether the lengths of the maps' vectors matter; False: unit vectors give the same scores."""
    pools = False
    """Whether the matcher is a `Pooled` one: it embeds the visible places, and distillation teaches it."""
    scores_alike_in_bfloat16 = False
    """Whether products in bfloat16 were seen to recognise real faces as well as those in float32."""
    prepared_at_once = 128 * 2**20
    """Budget in bytes for the probe maps that evaluation prepares at a time."""
    trains_visibility = False
    """Whether gradients flow into visibility maps. Those of TransMatcher leave out the choice of the best place."""
    pairs_at_once = 2 * 2**20
    """Budget in bytes for the probe maps of pairs that a processor compares at a time: it reads them twice, from its
    cache."""

    def __init__(
        self,
        channels: int,
        map_size: tuple[int, int],
        *,
        weighting: Weighting = "evidence",
        product: Product = "fp32",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.map_size = (int(map_size[0]), int(map_size[1]))
        self.weighting = weighting
        self.product = product

    def match(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        """Return scores [P, G] of every probe [P, C, h, w] with every gallery map [G, C, h, w]; higher is more alike.

        Raises:
            ModelInputError: maps or visibility of another shape, range, type or device.
        """
        probe, gallery, v, u = self._checked(probe, gallery, probe_visibility, gallery_visibility)
        with torch.autocast(probe.device.type, enabled=False):
            if self._only_scores_needed(probe, gallery, v, u):
                return self._match_in_blocks(probe, gallery, v, u)
            return self._match(probe, gallery, v, u)

    def match_pairs(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        """Return scores [N] of map n with map n: the diagonal of `match`, without the rest.

        Raises:
            ModelInputError: as for `match`, or as many probes as gallery maps are not given.
        """
        probe, gallery, v, u = self._checked(probe, gallery, probe_visibility, gallery_visibility)
        if len(probe) != len(gallery):
            raise ModelInputError(
                f"match_pairs takes as many probes as gallery maps, not {len(probe)} and {len(gallery)}."
            )
        with torch.autocast(probe.device.type, enabled=False):
            if torch.compiler.is_compiling():
                return self._score_pairs(probe, gallery, v, u)
            if self._only_scores_needed(probe, gallery, v, u):
                return self._match_pairs_in_blocks(probe, gallery, v, u)
            return self._match_pairs(probe, gallery, v, u)

    def match_candidates(
        self, probe: Tensor, gallery: Tensor, candidates: Tensor, probe_visibility: Tensor | None = None
    ) -> Tensor:
        """Return scores [P, k] of each probe [P, C, h, w] with its own k gallery maps, wholly visible ones.

        Args:
            gallery: [G, C, h, w]; its gradient is not computed.
            candidates: int64 [P, k], the rows of `gallery` that each probe meets.

        Raises:
            ModelInputError: as for `match`, or a candidate that is no row of `gallery`.
        """
        probe, gallery, v, _ = self._checked(probe, gallery, probe_visibility, None)
        check_candidates(candidates, len(probe), len(gallery))
        with torch.autocast(probe.device.type, enabled=False):
            return self._match_candidates(probe, gallery.detach(), candidates, v)

    # What a matcher is made of. Maps are [N, C, hw] here, visibility [N, hw].

    @abstractmethod
    def _match(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        """Differentiable scores [P, G], which keep no correlations."""

    @abstractmethod
    def _match_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        """Differentiable scores [N], which keep no correlations."""

    @abstractmethod
    def _match_candidates(self, probe: Tensor, gallery: Tensor, candidates: Tensor, v: Tensor | None) -> Tensor:
        """Differentiable scores [P, k], which keep no correlations."""

    @abstractmethod
    def _score_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        """Return scores [N], all at once, traceable."""

    @abstractmethod
    def _prepared(self, maps: Tensor, visibility: Tensor | None, *, gallery: bool = False) -> Any:
        """Return one side of `_score_block`, done once for many blocks."""

    @abstractmethod
    def _score_block(self, probe: Any, rows: slice, gallery: Any) -> Tensor:
        """Return scores of the prepared probes `rows` with all of a prepared gallery."""

    def _match_in_blocks(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        scores = probe.new_empty((len(probe), len(gallery)))
        size = BlockSize.within(block_bytes(probe.device), len(gallery), probe.shape[2] ** 2 * probe.element_size())
        for some in slices(len(probe), self._as_many(self.prepared_at_once, probe)):
            left = self._prepared(probe[some], part(v, some))
            for maps in slices(len(gallery), size.maps):
                right = self._prepared(gallery[maps], part(u, maps), gallery=True)
                for rows in slices(len(scores[some]), size.probes):
                    scores[some][rows, maps] = self._score_block(left, rows, right)
        return scores

    def _match_pairs_in_blocks(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        scores = probe.new_empty(len(probe))
        budget = self.pairs_at_once if probe.device.type == "cpu" else self.prepared_at_once
        for some in slices(len(probe), self._as_many(budget, probe)):
            scores[some] = self._score_pairs(probe[some], gallery[some], part(v, some), part(u, some))
        return scores

    @staticmethod
    def _as_many(budget: int, maps: Tensor) -> int:
        return max(1, budget // (maps[:1].numel() * maps.element_size()))

    def _only_scores_needed(self, *inputs: Tensor | None) -> bool:
        """No gradient will be asked for, and the batch normalisations need not see all maxima at once."""
        given = (*inputs, *self.parameters())
        learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
        return not self.training and not learns

    def _product_type(self, maps: Tensor) -> torch.dtype:
        # A traced matcher stays in one type: the runtimes of its exported form have fast products of that.
        if self.product == "fp32" or torch.compiler.is_compiling():
            return maps.dtype
        if self.product == "auto":
            precise = self.training or maps.dtype != torch.float32 or not self.scores_alike_in_bfloat16
            return maps.dtype if precise or not is_fast_in_bfloat16(maps.device.type) else torch.bfloat16
        return torch.bfloat16

    def _checked(
        self, probe: Tensor, gallery: Tensor, probe_visibility: Tensor | None, gallery_visibility: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Maps [B, C, hw] and visibility [B, hw]; one and the same tensor twice where it was given twice."""
        left, v = self._places(probe, "probe"), self._visible(probe_visibility, probe, "probe")
        if gallery is probe and gallery_visibility is probe_visibility:
            return left, left, v, v
        return left, self._places(gallery, "gallery"), v, self._visible(gallery_visibility, gallery, "gallery")

    def _places(self, maps: Tensor, what: str) -> Tensor:
        """[B, C, hw] in at least float32, after its shape, type and device are checked."""
        height, width = self.map_size
        if maps.ndim != 4 or tuple(maps.shape[1:]) != (self.channels, height, width):
            raise ModelInputError(
                f"This matcher takes {what} maps [B, {self.channels}, {height}, {width}], not {list(maps.shape)}."
            )
        if not maps.is_floating_point():
            raise ModelInputError(f"The {what} maps are {maps.dtype}; features are floating-point numbers.")
        device = next(self.parameters()).device
        if maps.device != device:
            raise ModelInputError(f"The {what} maps are on {maps.device}, the matcher on {device}; move one of them.")
        return at_least_float32(maps).flatten(2)

    def _visible(self, visibility: Tensor | None, maps: Tensor, what: str) -> Tensor | None:
        """[B, hw] in the type of `maps`, without gradient, after shape, range and device are checked."""
        if visibility is None:
            return None
        height, width = self.map_size
        is_map = visibility.ndim == 4 and visibility.shape[1] == 1
        if is_map and visibility.shape[2] > height and visibility.shape[3] > width:
            visibility = resize_visibility(visibility, self.map_size)
        if tuple(visibility.shape[1:]) != (1, height, width) or len(visibility) != len(maps):
            raise ModelInputError(
                f"The {what}'s visibility maps are [{len(maps)}, 1, {height}, {width}], not {list(visibility.shape)}."
            )
        if visibility.device != maps.device:
            raise ModelInputError(f"The {what}'s visibility is on {visibility.device}, its maps on {maps.device}.")
        learnt = visibility if self.trains_visibility else visibility.detach()
        flat = learnt.flatten(1).to(at_least_float32(maps[:0]).dtype)
        on_host = flat.device.type == "cpu"
        if not torch.compiler.is_compiling() and (on_host or not self.training):
            # Training on a GPU does not wait for its values, which are those of the visibility head's sigmoid.
            # NaN passes: it makes the scores NaN, which training answers by skipping the step and naming the term.
            found = host_range(flat.detach() if on_host else flat.detach().cpu())
            if found is not None and (found[0] < 0 or found[1] > 1):
                raise ModelInputError(
                    f"The {what}'s visibility lies in [{found[0]:.3g}, {found[1]:.3g}]; it is a share in [0, 1], "
                    "1 = visible."
                )
        return None if self.weighting == "none" else flat


def check_candidates(candidates: Tensor, probes: int, gallery: int) -> None:
    """Refuse candidates that are no rows of the gallery.

    Raises:
        ModelInputError: see above.
    """
    if candidates.ndim != 2 or len(candidates) != probes or candidates.dtype != torch.int64:
        raise ModelInputError(f"Candidates are int64 [{probes}, k], not {candidates.dtype} {list(candidates.shape)}.")
    found = host_range(candidates)
    if found is not None and (found[0] < 0 or found[1] >= gallery):
        wrong = found[0] if found[0] < 0 else found[1]
        raise ModelInputError(f"A candidate is {wrong}; the gallery has the rows 0 … {gallery - 1}.")
