"""A recogniser whose scores can be worked out by hand, and small sets of pairs for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from oaml_core.models.features import Features


class ColourMatcher(nn.Module):
    """Counts the commonly visible places whose colours agree."""

    def match_pairs(self, probe, gallery, probe_visibility=None, gallery_visibility=None) -> Tensor:
        agreement = (normalize(probe, dim=1) * normalize(gallery, dim=1)).sum(1, keepdim=True)
        return (agreement * probe_visibility * gallery_visibility).sum((1, 2, 3))

    def match(self, probe, gallery, probe_visibility=None, gallery_visibility=None) -> Tensor:
        a, b = (
            (normalize(x, dim=1) * v).flatten(1) for x, v in ((probe, probe_visibility), (gallery, gallery_visibility))
        )
        return a @ b.T


class ColourRecogniser(nn.Module):
    """Knows a face by its colours: the map is the image, area averaged; black places are taken for covered."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(3)
        self.matcher = ColourMatcher()

    def forward(self, images: Tensor) -> Features:
        small = adaptive_avg_pool2d(images.float() / 255, (7, 7))
        embedding = self.batch_norm(small).flatten(1)
        norm = embedding.norm(dim=1, keepdim=True)
        return Features(small, embedding / norm, norm, (small.mean(1, keepdim=True) * 10).clamp(0, 1))


@dataclass
class Pairs:
    """What `evaluate_model` reads of a verification set."""

    name: str
    images: np.ndarray
    issame: np.ndarray
    landmarks: np.ndarray | None = None
    identities: np.ndarray | None = None


def draw_pairs(count: int, noise: float, seed: int = 0) -> Pairs:
    """Pairs of colour patterns: genuine ones show the same pattern twice, with noise."""
    generator = np.random.default_rng(seed)
    patterns = generator.integers(40, 220, (2 * count, 7, 7, 3))
    issame = np.arange(count) % 2 == 0
    patterns[1::2][issame] = patterns[0::2][issame]
    patterns = patterns + generator.normal(0, noise, patterns.shape)
    images = patterns.clip(30, 255).astype(np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    return Pairs("patterns", images, issame)
