"""What a local matcher is, and the one that a configuration names."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from oaml_core.config import ModelConfig


class Matcher(nn.Module, ABC):
    """Compares feature maps place by place. Maps are normalised over channels here, so raw ones may be given."""

    @abstractmethod
    def match(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        """Scores [P, G] of every probe [P, C, h, w] with every gallery map [G, C, h, w]; higher is more alike.

        Visibility maps are [P, 1, h, w] and [G, 1, h, w] in [0, 1]; both or none.
        """

    @abstractmethod
    def match_pairs(
        self,
        probe: Tensor,
        gallery: Tensor,
        probe_visibility: Tensor | None = None,
        gallery_visibility: Tensor | None = None,
    ) -> Tensor:
        """Scores [N] of map n with map n: the diagonal of `match`, without the rest."""


def build_matcher(config: ModelConfig, channels: int, map_size: tuple[int, int]) -> Matcher:
    """The matcher that `config` names, for maps [B, channels, *map_size]."""
    from oaml_core.models.qaconv import QAConv

    return QAConv(channels, map_size, weighting=config.weighting)
