"""Margins: what makes the cosine between a face and its own class harder."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.distributed as dist
from torch import Tensor, nn

from oaml_core.config import ModelConfig
from oaml_core.models.global_batch import is_distributed
from oaml_core.registry import MARGINS, register_margin


class Margin(nn.Module, ABC):
    """A margin that makes the own-class cosine smaller, so that training pulls faces of a person together.

    Args:
        m: margin.
        s: scale of the logits.
    """

    epsilon = 1e-4
    """Distance that cosines and angles keep from their ends, as published for each margin."""

    def __init__(self, *, m: float, s: float) -> None:
        super().__init__()
        self.m = m
        self.s = s

    def observe(self, norm: Tensor) -> None:
        """Take note of this worker's norms [b, 1], once a training step."""

    @abstractmethod
    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        """Return the own-class cosine, of the shape of `cosine` and `norm`, after the margin."""

    def logits(self, cosine: Tensor, norm: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Scaled logits [B, K] of cosines [B, K].

        The cosine of the own class only is edited, in place of a one-hot mask of batch × classes.

        Args:
            norm: [B, 1], of the embeddings before normalisation; no gradient flows to it.
            rows, columns: int64 [n], where `cosine` holds the own class of a sample.
        """
        cosine = cosine.clamp(-1 + self.epsilon, 1 - self.epsilon)
        own = cosine[rows, columns][:, None]
        harder = self.harder(own, norm.detach().float()[rows])
        return self.s * cosine.index_put((rows, columns), harder[:, 0])


class ArcFace(Margin):
    """Additive angular margin: the logit of the own class is cos(θ + m) (Deng et al. 2019, equation 3).

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> margin = oaml.ArcFace(m=0.5, s=64.0)
        >>> bool(margin.harder(torch.tensor([0.8]), torch.tensor([20.0])) < 0.8)
        True
    """

    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return (cosine.acos() + self.m).clamp(self.epsilon, math.pi - self.epsilon).cos()


class CosFace(Margin):
    """Additive cosine margin: the logit of the own class is cos θ − m (Wang et al. 2018, equation 4).

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> margin = oaml.CosFace(m=0.35, s=64.0)
        >>> round(float(margin.harder(torch.tensor([0.8]), torch.tensor([20.0]))), 2)
        0.45
    """

    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return cosine - self.m


class AdaFace(Margin):
    """Margin that adapts to image quality: cos(θ + g_angle) − g_add (Kim et al. 2022, equations 11 to 13).

    With ẑ = clip(h · (norm − μ) / (σ + ε), −1, 1): g_angle = −m·ẑ, g_add = m·ẑ + m. μ and σ are running means of
    the norms' mean and deviation over the global batch, with momentum `t_alpha`.

    Example:
        >>> import oaml_core as oaml
        >>> margin = oaml.AdaFace(m=0.4, s=64.0, h=0.333, t_alpha=0.01)
        >>> head = oaml.MarginHead(embedding_size=16, num_classes=10, margin=margin)
    """

    epsilon = 1e-3
    batch_mean: Tensor
    batch_std: Tensor

    def __init__(self, *, m: float, s: float, h: float, t_alpha: float) -> None:
        super().__init__(m=m, s=s)
        self.h = h
        self.t_alpha = t_alpha
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def harder(self, cosine: Tensor, norm: Tensor) -> Tensor:
        quality = ((_bounded(norm) - self.batch_mean) / (self.batch_std + self.epsilon) * self.h).clamp(-1, 1)
        angle = (cosine.acos() - self.m * quality).clamp(self.epsilon, math.pi - self.epsilon)
        return angle.cos() - (self.m + self.m * quality)

    @torch.no_grad()
    def observe(self, norm: Tensor) -> None:
        """Move the running statistics by those of the global batch, the same on every worker.

        The moments are taken about the running mean: sums of squares of norms that hardly differ would cancel.
        """
        distance = _bounded(norm.float()) - self.batch_mean
        moments = torch.stack([distance.new_full((), float(len(norm))), distance.sum(), distance.square().sum()])
        if is_distributed():
            dist.all_reduce(moments)
        count, total, squares = moments
        mean = total / count
        deviation = ((squares - count * mean.square()).clamp_min(0) / (count - 1).clamp_min(1)).sqrt()
        self.batch_mean.add_(self.t_alpha * mean)
        self.batch_std.lerp_(deviation, self.t_alpha)


def _bounded(norm: Tensor) -> Tensor:
    """Norms within what is published."""
    return norm.clamp(0.001, 100)


@register_margin("adaface")
def _adaface(config: ModelConfig) -> Margin:
    return AdaFace(m=config.m, s=config.s, h=config.h, t_alpha=config.t_alpha)


@register_margin("arcface")
def _arcface(config: ModelConfig) -> Margin:
    return ArcFace(m=config.m, s=config.s)


@register_margin("cosface")
def _cosface(config: ModelConfig) -> Margin:
    return CosFace(m=config.m, s=config.s)


def build_margin(config: ModelConfig) -> Margin:
    """Build the margin that `config.head` names.

    Raises:
        ConfigError: no margin is registered under that name.
    """
    built: Margin = MARGINS.get(config.head)(config)
    return built
