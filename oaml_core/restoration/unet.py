"""The denoiser's network: a U-Net of the DDPM++ kind (Song et al. 2021, with the changes of Karras et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.amounts import amount
from oaml_core.errors import ConfigError


class UNet(nn.Module):
    """The network F of equation 7: tiles [B, C, H, W], c_noise [B] and labels [B, L] → [B, C, H, W].

    Residual blocks whose second normalisation is scaled and shifted by the noise level and the label, skip
    connections from every block on the way down to its counterpart on the way up, attention where the map is small.

    Args:
        channels: of the tiles.
        model_channels: of the first level.
        channel_mult: factor of each level; each level after the first halves the map.
        num_blocks: residual blocks a level.
        attention_levels: levels, 0 = full resolution, whose blocks attend over all places; the innermost one does.
        label_dim: L; 0: no labels.
        dropout: share of activations that training drops.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        model_channels: int = 128,
        channel_mult: tuple[int, ...] = (1, 2, 2, 2),
        num_blocks: int = 4,
        attention_levels: tuple[int, ...] = (),
        label_dim: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        width = model_channels * 4
        self.frequencies = model_channels
        self.halvings = len(channel_mult) - 1
        self.embed = nn.Sequential(nn.Linear(model_channels, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.label = nn.Linear(label_dim, model_channels, bias=False) if label_dim else None
        self.first = nn.Conv2d(channels, model_channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [model_channels], model_channels
        for level, factor in enumerate(channel_mult):
            if level:
                self.down.append(ResidualBlock(now, now, width, dropout=dropout, resample="down"))
                skips.append(now)
            for _ in range(num_blocks):
                out = model_channels * factor
                self.down.append(ResidualBlock(now, out, width, dropout=dropout, attention=level in attention_levels))
                skips.append(now := out)
        self.middle = nn.ModuleList(
            [
                ResidualBlock(now, now, width, dropout=dropout, attention=True),
                ResidualBlock(now, now, width, dropout=dropout),
            ]
        )
        for level, factor in reversed(list(enumerate(channel_mult))):
            if level < self.halvings:
                self.up.append(ResidualBlock(now, now, width, dropout=dropout, resample="up"))
            for _ in range(num_blocks + 1):
                out, attends = model_channels * factor, level in attention_levels
                self.up.append(ResidualBlock(now + skips.pop(), out, width, dropout=dropout, attention=attends))
                now = out
        self.norm = _norm(now)
        self.last = _zeroed(nn.Conv2d(now, channels, 3, padding=1))

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        side = 2**self.halvings
        if x.shape[2] % side or x.shape[3] % side:
            raise ConfigError(
                f"Tiles of {list(x.shape[2:])} pixels cannot be halved {amount(self.halvings, 'time')}; see tile_size."
            )
        embedded = positional_embedding(c_noise, self.frequencies).to(x.dtype)
        if self.label is not None and labels is not None:
            embedded = embedded + self.label(labels * math.sqrt(labels.shape[1]))
        emb = self.embed(embedded)
        x = self.first(x)
        skips = [x]
        for block in self.down:
            skips.append(x := block(x, emb))
        for block in self.middle:
            x = block(x, emb)
        for block in self.up:
            x = block(x if block.resample == "up" else torch.cat([x, skips.pop()], 1), emb)
        result: Tensor = self.last(functional.silu(self.norm(x)))
        return result


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip; the embedding scales and shifts the input of the second."""

    def __init__(
        self,
        channels: int,
        out: int,
        width: int,
        *,
        dropout: float,
        attention: bool = False,
        resample: str | None = None,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norm0, self.conv0 = _norm(channels), nn.Conv2d(channels, out, 3, padding=1)
        self.affine = nn.Linear(width, 2 * out)
        self.norm1, self.conv1 = _norm(out), _zeroed(nn.Conv2d(out, out, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()
        self.attention = Attention(out) if attention else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        inner = self.conv0(self._resampled(functional.silu(self.norm0(x))))
        scale, shift = self.affine(emb)[:, :, None, None].chunk(2, 1)
        inner = functional.silu(torch.addcmul(shift, self.norm1(inner), scale + 1))
        # Halves of the variance each, so that depth does not let activations grow.
        x = (self.skip(self._resampled(x)) + self.conv1(self.dropout(inner))) * math.sqrt(0.5)
        return x if self.attention is None else self.attention(x)

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return functional.avg_pool2d(x, 2)
        return functional.interpolate(x, scale_factor=2.0) if self.resample == "up" else x


class Attention(nn.Module):
    """Self-attention over all places, with heads of at most 64 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 64)
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, h * w).transpose(3, 4).unbind(1)
        found = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = (x + self.out(found.transpose(2, 3).reshape(b, c, h, w))) * math.sqrt(0.5)
        return result


def positional_embedding(values: Tensor, channels: int) -> Tensor:
    """Return cosines and sines [B, channels] of `values` [B] at channels / 2 frequencies from 1 to 1e-4."""
    exponents = torch.arange(channels // 2, dtype=torch.float32, device=values.device) / (channels // 2)
    angles = values.float()[:, None] * (1 / 10000) ** exponents
    return torch.cat([angles.cos(), angles.sin()], 1)


def _norm(channels: int) -> nn.GroupNorm:
    groups = min(32, max(1, channels // 4))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """So that at first every block is its skip, and F is 0."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
