"""The layers of TransMatcher: self-attention within a map, cross-matching of two maps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from oaml_core.models.correlation import block_bytes, slices
from oaml_core.models.correlation_weighting import SMALLEST, move_running_statistics, normalisation


class Rows(NamedTuple):
    """The rows of N maps that one decoder layer compares."""

    unit: Tensor
    """[N, hw, d], vectors of length at most 1; 0 where nothing is visible."""
    length: Tensor
    """[N], length of a map's longest vector, by which its others were divided."""


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to its input and normalised (Vaswani et al. 2017).

    One head and no dropout, as in TransMatcher. A place is attended to in proportion to its visibility.
    """

    def __init__(self, width: int, feedforward: int) -> None:
        super().__init__()
        self.attended = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)
        for layer in (self.attended, self.out, self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, visibility: Tensor | None) -> Tensor:
        """Encode places [N, hw, d], weighted by visibility [N, hw] in [0, 1]; the result has the same shape."""
        # Zeros where all is visible, not a call without a mask: the same arithmetic gives the same last digit.
        seen = x.new_zeros(x.shape[:2]) if visibility is None else log_visibility(visibility)
        query, key, value = self.attended(x)[:, None].chunk(3, -1)  # [N, one head, hw, d]
        mask = seen[:, None, None].expand(-1, -1, x.shape[1], -1)
        x = self.norm1(x + self.out(functional.scaled_dot_product_attention(query, key, value, mask)[:, 0]))
        result: Tensor = self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
        return result


def log_visibility(visibility: Tensor) -> Tensor:
    """Natural logarithm of visibility relative to the map's best place; all 0 where nothing is visible."""
    best = visibility.amax(-1, keepdim=True)
    return torch.where(best > 0, visibility / best.clamp_min(SMALLEST), 1.0).log()


class DecoderLayer(nn.Module):
    """Scores the best matches of two maps.

    With query and key the same linear map of both maps' features, and a learned affinity E of places:
    c[s, r] = query(s)·key(r)·sigmoid(E[s, r]), m(s) = max_r c, m(r) = max_s c, and
    score = bn3(Σ over both directions of fc3(relu(bn2(fc2(bn1(m)))))).

    The published weights have an E that is not symmetric and are used as they are. Here E starts symmetric and its
    gradient is made so, that the score of two maps does not depend on which is called the probe.

    The hidden activations of fc2, `feedforward` numbers a pair and direction, exist for a block of pairs at a time:
    bn2's statistics follow from the mean and the covariance of fc2's inputs.
    """

    def __init__(self, places: int, width: int, feedforward: int) -> None:
        super().__init__()
        affinity = torch.empty(places, places)
        nn.init.xavier_uniform_(affinity)
        self.score_embed = nn.Parameter((affinity + affinity.T)[None, None] / math.sqrt(2))
        self.fc1 = nn.Linear(width, width)
        self.bn1 = nn.BatchNorm1d(1)
        self.fc2 = nn.Linear(places, feedforward)
        self.bn2 = nn.BatchNorm1d(feedforward)
        self.fc3 = nn.Linear(feedforward, 1)
        self.bn3 = nn.BatchNorm1d(1)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.xavier_uniform_(layer.weight)

    def log_affinity(self) -> Tensor:
        """Return log sigmoid(E), [hw of the probe, hw of the gallery map]."""
        embed: Tensor = _SymmetricGradient.apply(self.score_embed[0, 0])
        return functional.logsigmoid(embed)

    def rows(self, x: Tensor, visibility: Tensor | None) -> Rows:
        """Queries, or keys, of features [N, hw, d]; visibility [N, hw]."""
        rows = self.fc1(x)
        if visibility is not None:
            rows = rows * (visibility > 0)[..., None]
        # A unit to measure in: what matters of its gradient is in the rows that it is multiplied with again.
        length = rows.detach().square().sum(-1).amax(-1).sqrt().clamp_min(SMALLEST)
        return Rows(rows / length[:, None, None], length)

    def score(self, over_gallery: Tensor, over_probe: Tensor, weight: Tensor | None) -> Tensor:
        """Return scores [B, A, K] of both directions' maxima [B, A, hw, K], each place counting by `weight`."""
        scale, shift = normalisation(self.bn1, over_gallery, over_probe, weight)
        x = torch.stack([over_gallery, over_probe]) * scale + shift
        if weight is not None:
            x = x * weight
        x = x.movedim(3, -1)  # [2, B, A, K, hw]
        both = self._feedforward(x.reshape(-1, x.shape[-1])).view(x.shape[:-1])
        total = both[0] + both[1]
        result: Tensor = self.bn3(total.reshape(-1, 1)).view(total.shape)
        return result

    def _feedforward(self, x: Tensor) -> Tensor:
        """fc3(relu(bn2(fc2(x)))) of rows [n, hw] → [n]."""
        mean, variance = self._hidden_statistics(x)
        scale = self.bn2.weight * (variance + self.bn2.eps).rsqrt()
        weight, bias = self.fc2.weight * scale[:, None], (self.fc2.bias - mean) * scale + self.bn2.bias
        if torch.compiler.is_compiling():
            return self._hidden_to_score(x, weight, bias)
        step = max(1, block_bytes(x.device) // (len(weight) * x.element_size()))
        learns = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight))
        parts = []
        for rows in slices(len(x), step):
            inputs = x[rows], weight, bias
            if learns:
                parts.append(checkpoint(self._hidden_to_score, *inputs, use_reentrant=False, preserve_rng_state=False))
            else:
                parts.append(self._hidden_to_score(*inputs))
        return torch.cat(parts) if parts else x.new_empty(0)

    def _hidden_to_score(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.linear(functional.linear(x, weight, bias).relu(), self.fc3.weight, self.fc3.bias)[:, 0]

    def _hidden_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of fc2's outputs that bn2 subtracts and divides by."""
        assert self.bn2.running_mean is not None
        assert self.bn2.running_var is not None
        if not self.training:
            return self.bn2.running_mean, self.bn2.running_var
        mean, n = x.mean(0), max(1, len(x))
        centred = x - mean
        covariance = centred.T @ centred / n
        variance = ((self.fc2.weight @ covariance) * self.fc2.weight).sum(1).clamp_min(0)
        mean = functional.linear(mean, self.fc2.weight, self.fc2.bias)
        move_running_statistics(self.bn2, mean, variance * n / max(1, n - 1))
        return mean, variance


class Decoder(nn.Module):
    """One `DecoderLayer` for each stage of the encoder, and the normalisation of their sum."""

    def __init__(self, places: int, width: int, feedforward: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(places, width, feedforward) for _ in range(num_layers))
        self.norm = nn.BatchNorm1d(1)

    def __iter__(self) -> Iterator[DecoderLayer]:
        return cast(Iterator[DecoderLayer], iter(self.layers))

    def normalised(self, scores: list[Tensor]) -> Tensor:
        """Return the layers' scores [B, A, K] added and normalised."""
        total = torch.stack(scores).sum(0)
        result: Tensor = self.norm(total.view(-1, 1)).view(total.shape)
        return result


class _SymmetricGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        return matrix.view_as(matrix)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return (gradients[0] + gradients[0].T) / 2
