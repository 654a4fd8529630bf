"""What a local matcher is, and the one that a configuration names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from oaml_core.config import ModelConfig
from oaml_core.errors import ConfigError, ModelInputError

Product = Literal["fp32", "bf16"]
"""Type of the factors in a matcher's large matrix products; they are summed in float32 in any case."""


class Matcher(nn.Module, ABC):
    """Compares feature maps place by place. Maps are normalised over channels here, so raw ones may be given.

    Visibility maps are [B, 1, h, w] in [0, 1], 1 = visible; a side without one is all visible. They weight the
    comparison and get no gradient from it.

    Args:
        channels: C of the maps.
        map_size: (h, w) of the maps.
    """

    def __init__(self, channels: int, map_size: tuple[int, int]) -> None:
        super().__init__()
        self.channels = channels
        self.map_size = (int(map_size[0]), int(map_size[1]))

    @abstractmethod
    def match(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        """Scores [P, G] of every probe [P, C, h, w] with every gallery map [G, C, h, w]; higher is more alike.

        Raises:
            ModelInputError: maps or visibility of another shape, range, type or device.
        """

    @abstractmethod
    def match_pairs(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        """Scores [N] of map n with map n: the diagonal of `match`, without the rest.

        Raises:
            ModelInputError: as for `match`, or as many probes as gallery maps are not given.
        """

    @abstractmethod
    def match_candidates(
        self, probe: Tensor, gallery: Tensor, candidates: Tensor, probe_visibility: Tensor | None = None
    ) -> Tensor:
        """Scores [P, k] of each probe [P, C, h, w] with its own k gallery maps, wholly visible ones.

        Args:
            gallery: [G, C, h, w]; its gradient is not computed.
            candidates: int64 [P, k], the rows of `gallery` that each probe meets.

        Raises:
            ModelInputError: as for `match`, or a candidate that is no row of `gallery`.
        """

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
        return (maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps).flatten(2)

    def _visible(self, visibility: Tensor | None, maps: Tensor, what: str) -> Tensor | None:
        """[B, hw] in the type of `maps`, without gradient, after shape, range and device are checked."""
        if visibility is None:
            return None
        height, width = self.map_size
        if tuple(visibility.shape[1:]) != (1, height, width) or len(visibility) != len(maps):
            raise ModelInputError(
                f"The {what}'s visibility maps are [{len(maps)}, 1, {height}, {width}], not {list(visibility.shape)}."
            )
        if visibility.device != maps.device:
            raise ModelInputError(f"The {what}'s visibility is on {visibility.device}, its maps on {maps.device}.")
        flat = visibility.detach().flatten(1).to(maps.dtype)
        # NaN passes: it makes the scores NaN, which training answers by skipping the step and naming the term.
        if not torch.compiler.is_compiling() and flat.numel() and bool(((flat < 0) | (flat > 1)).any()):
            raise ModelInputError(
                f"The {what}'s visibility lies in [{flat.min():.3g}, {flat.max():.3g}]; it is a share in [0, 1], "
                "1 = visible."
            )
        return flat


def check_as_many(probe: Tensor, gallery: Tensor) -> None:
    """Refuse different numbers of maps.

    Raises:
        ModelInputError: there are not as many probes as gallery maps.
    """
    if len(probe) != len(gallery):
        raise ModelInputError(f"match_pairs takes as many probes as gallery maps, not {len(probe)} and {len(gallery)}.")


def check_candidates(candidates: Tensor, probes: int, gallery: int) -> None:
    """Refuse candidates that are no rows of the gallery.

    Raises:
        ModelInputError: see above.
    """
    if candidates.ndim != 2 or len(candidates) != probes or candidates.dtype != torch.int64:
        raise ModelInputError(f"Candidates are int64 [{probes}, k], not {candidates.dtype} {list(candidates.shape)}.")
    if candidates.numel() and (int(candidates.min()) < 0 or int(candidates.max()) >= gallery):
        raise ModelInputError(f"A candidate is {int(candidates.max())}; the gallery has the rows 0 … {gallery - 1}.")


def build_matcher(config: ModelConfig, channels: int, map_size: tuple[int, int]) -> Matcher:
    """The matcher that `config` names, for maps [B, channels, *map_size].

    Raises:
        ConfigError: `model.matcher` names no matcher.
    """
    from oaml_core.models.qaconv import QAConv

    if config.matcher == "qaconv":
        return QAConv(channels, map_size, weighting=config.weighting)
    raise ConfigError(f"model.matcher is {config.matcher!r}; matchers are 'qaconv' and 'transmatcher'.")
