"""Margin heads behind one interface: `(embedding, norm, label) -> logits`.

Each edits the cosine of the own class only, by gather and scatter, so that no batch × classes one-hot is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.config import ModelConfig
from oaml_core.errors import ModelInputError

EPSILON = 1e-3
"""Distance that cosines and angles keep from their ends, as published."""


class MarginHead(nn.Module, ABC):
    """A cosine classifier whose own-class cosine is made harder by a margin.

    Args:
        embedding_size: E.
        num_classes: training identities.
        m: margin.
        s: scale of the logits.
    """

    def __init__(self, embedding_size: int, num_classes: int, *, m: float, s: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.m = m
        self.s = s
        self.kernel = nn.Parameter(torch.empty(embedding_size, num_classes))
        nn.init.normal_(self.kernel, std=embedding_size**-0.5)

    def forward(self, embedding: Tensor, norm: Tensor, label: Tensor) -> Tensor:
        """Logits [B, classes] of unit-length `embedding` [B, E], `norm` [B, 1], `label` int64 [B].

        Raises:
            ModelInputError: shapes do not fit one another.
        """
        if embedding.shape[1] != len(self.kernel) or len(norm) != len(embedding) or len(label) != len(embedding):
            raise ModelInputError(
                f"The head takes embedding [B, {len(self.kernel)}], norm [B, 1] and label [B], not "
                f"{list(embedding.shape)}, {list(norm.shape)} and {list(label.shape)}."
            )
        with torch.autocast(embedding.device.type, enabled=False):
            cosine = embedding.float() @ functional.normalize(self.kernel, dim=0)
            cosine = cosine.clamp(-1 + EPSILON, 1 - EPSILON)
            own = cosine.gather(1, label[:, None])
            return self.s * cosine.scatter(1, label[:, None], self.harder(own, norm.detach().float()))

    @abstractmethod
    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        """The own-class cosine [B, 1] after the margin."""


class ArcFace(MarginHead):
    """cos(θ + m) (Deng et al. 2019, equation 3)."""

    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return (cosine.acos() + self.m).clamp(EPSILON, math.pi - EPSILON).cos()


class CosFace(MarginHead):
    """cos θ − m (Wang et al. 2018, equation 4)."""

    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return cosine - self.m


class AdaFace(MarginHead):
    """cos(θ + g_angle) − g_add, margins that follow the image quality (Kim et al. 2022, equations 11 to 13).

    With ẑ = clip(h · (norm − μ) / (σ + ε), −1, 1): g_angle = −m·ẑ, g_add = m·ẑ + m. μ and σ are running means of
    the norms' mean and deviation over the global batch, with momentum `t_alpha`.
    """

    batch_mean: Tensor
    batch_std: Tensor

    def __init__(self, embedding_size: int, num_classes: int, *, m: float, s: float, h: float, t_alpha: float) -> None:
        super().__init__(embedding_size, num_classes, m=m, s=s)
        self.h = h
        self.t_alpha = t_alpha
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        norm = norm.clamp(0.001, 100)
        if self.training:
            self._follow(norm)
        quality = ((norm - self.batch_mean) / (self.batch_std + EPSILON) * self.h).clamp(-1, 1)
        angle = (cosine.acos() - self.m * quality).clamp(EPSILON, math.pi - EPSILON)
        return angle.cos() - (self.m + self.m * quality)

    @torch.no_grad()
    def _follow(self, norm: Tensor) -> None:
        """Move the running statistics by those of the global batch."""
        moments = torch.stack([norm.new_tensor(float(len(norm))), norm.sum(), norm.square().sum()]).double()
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(moments)
        count, total, squares = moments
        mean = total / count
        deviation = ((squares - count * mean.square()).clamp_min(0) / (count - 1).clamp_min(1)).sqrt()
        self.batch_mean.lerp_(mean.to(norm.dtype), self.t_alpha)
        self.batch_std.lerp_(deviation.to(norm.dtype), self.t_alpha)


def build_margin_head(config: ModelConfig, embedding_size: int, num_classes: int) -> MarginHead:
    """The margin head that `config` names."""
    if config.head == "adaface":
        return AdaFace(embedding_size, num_classes, m=config.m, s=config.s, h=config.h, t_alpha=config.t_alpha)
    kind = {"arcface": ArcFace, "cosface": CosFace}[config.head]
    return kind(embedding_size, num_classes, m=config.m, s=config.s)
