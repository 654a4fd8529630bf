"""Pooled matching: the embedding of the places that both faces show, made anew for each pair."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.models.correlation_weighting import Weighting
from oaml_core.models.matcher import Matcher, Product
from oaml_core.registry import register_matcher
from oaml_core.visibility import resize_visibility

SMALLEST_SHARE = 1e-6
"""Visible share below which a batch says nothing about a place's mean."""


class Contributions(NamedTuple):
    """One side, ready to be compared."""

    places: Tensor
    """[N, S, E], what each place adds to the embedding beyond the mean face, times its visibility; [N, E], the
    embedding itself, where faces are pooled alone."""
    visibility: Tensor
    """[N, S]"""


@register_matcher("pooled")
class Pooled(Matcher):
    """Cosine of two embeddings that leave out what either face hides.

    An embedding layer without activations is a sum over the places s of the map: e = o + Σ_s P·(w_s ∘ f_s). With
    g_s = P·(w_s ∘ f_s), its mean μ_s over visible places of the training faces, and the visibilities v of one face
    and u of the other,

        z(f, v·u) = o + Σ_s μ_s + Σ_s v_s·u_s·(g_s − μ_s)
        score     = (a₀ + a₁·n)·cos(z(f, v·u), z(f′, v·u)) + b₀ + b₁·n,     n = mean of v·u

    A place that one face hides counts on both as the mean face's: it speaks neither for nor against. The fewer places
    are left, the less a cosine says; a₁ and b₁ learn that. Faces are aligned, so place s is compared with place s: at
    7×7 places a hundredth of the work of correlating all with all. `weighting` `multiply` and `evidence` are the same
    here, and `none` takes every place for visible. Lengths of the maps' vectors matter.

    Args:
        embedding_size: E.
        per_place: a projection of its own for each place, P_s in g_s = P_s·f_s, as in embedding layers that see the
            whole map at once: S times the weights.

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> matcher = oaml.Pooled(channels=8, map_size=(3, 3), embedding_size=16).eval()
        >>> maps = torch.rand(2, 8, 3, 3)
        >>> matcher.match(maps, maps).shape
        torch.Size([2, 2])
    """

    keeps_lengths = True
    pools = True
    momentum = 0.1
    mean: Tensor
    """[S, E], μ above."""
    batches: Tensor
    """Batches that the mean was taken from."""

    def __init__(
        self,
        channels: int,
        map_size: tuple[int, int],
        *,
        weighting: Weighting = "evidence",
        product: Product = "fp32",
        embedding_size: int = 128,
        per_place: bool = False,
    ) -> None:
        super().__init__(channels, map_size, weighting=weighting, product=product)
        places = self.map_size[0] * self.map_size[1]
        self.weight = None if per_place else nn.Parameter(torch.full((channels, places), 1 / places))
        shape = (places, embedding_size, channels) if per_place else (embedding_size, channels)
        self.projection = nn.Parameter(torch.empty(shape))
        self.offset = nn.Parameter(torch.zeros(embedding_size))
        self.scale = nn.Parameter(torch.tensor([20.0, 0.0]))
        self.shift = nn.Parameter(torch.tensor([-8.0, 0.0]))
        self.register_buffer("mean", torch.zeros(places, embedding_size))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        nn.init.normal_(self.projection, std=channels**-0.5 / (places if per_place else 1))

    def scales(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Return a and b of the score, which turn cosines into logits and no face into anything else."""
        return self.scale, self.shift

    def embed(self, maps: Tensor, visibility: Tensor) -> Tensor:
        """Return z(f, v) at unit length, [N, E], of each face alone.

        Args:
            maps: [N, C, h, w].
            visibility: [N, 1, h, w] in [0, 1].
        """
        beyond = (self.contributions(maps.flatten(2)) - self.mean) * visibility.flatten(1)[..., None]
        return functional.normalize(self.offset + self.mean.sum(0) + beyond.sum(1), dim=1)

    def contributions(self, maps: Tensor) -> Tensor:
        """Return the contribution g of each place, [N, S, E], as above; maps are [N, C, S]."""
        if self.weight is None:
            return torch.einsum("ncs,sec->nse", maps, self.projection)
        return functional.linear((maps * self.weight).transpose(1, 2), self.projection)

    def _match(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left = self._prepared(probe, v)
        right = left if gallery is probe and u is v else self._prepared(gallery, u, gallery=True)
        return self._score_block(left, slice(None), right)

    def _match_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left, right = self._prepared(probe, v), self._prepared(gallery, u, gallery=True)
        one = (left.places * right.visibility[..., None]).sum(1)
        other = (right.places * left.visibility[..., None]).sum(1)
        return self._scores(one, other, (left.visibility * right.visibility).mean(1))

    def _match_candidates(self, probe: Tensor, gallery: Tensor, candidates: Tensor, v: Tensor | None) -> Tensor:
        left, right = self._prepared(probe, v), self._prepared(gallery, None, gallery=True)
        other = torch.einsum("ps,pkse->pke", left.visibility, right.places[candidates])
        return self._scores(left.places.sum(1)[:, None], other, left.visibility.mean(1)[:, None])

    def _score_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        return self._match_pairs(probe, gallery, v, u)

    def _prepared(self, maps: Tensor, visibility: Tensor | None, *, gallery: bool = False) -> Contributions:
        places = self.contributions(maps)
        visibility = maps.new_ones(len(maps), maps.shape[2]) if visibility is None else visibility
        if self.training and not gallery:
            self._follow(places.detach(), visibility)
        return Contributions(self._compared(places, visibility), visibility)

    def _compared(self, places: Tensor, visibility: Tensor) -> Tensor:
        """Return what a side brings to a comparison, of its contributions [N, S, E] and visibility [N, S]."""
        return (places - self.mean) * visibility[..., None]

    def _score_block(self, probe: Contributions, rows: slice, gallery: Contributions) -> Tensor:
        places, visibility = probe.places[rows], probe.visibility[rows]
        one = torch.einsum("pse,gs->pge", places, gallery.visibility)
        other = torch.einsum("gse,ps->pge", gallery.places, visibility)
        return self._scores(one, other, visibility @ gallery.visibility.T / visibility.shape[1])

    def _scores(self, one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """Return scores of sums of contributions [..., E] and the visible share [...] on both sides."""
        whole = self.offset + self.mean.sum(0)
        cosine = functional.cosine_similarity(one + whole, other + whole, dim=-1)
        return (self.scale[0] + self.scale[1] * share) * cosine + self.shift[0] + self.shift[1] * share

    @torch.no_grad()
    def _follow(self, places: Tensor, visibility: Tensor) -> None:
        """Let the mean follow the visible places of a batch: their plain mean at first, then a running one."""
        self.batches.add_(1)
        total = visibility.sum(0)
        found = torch.einsum("nse,ns->se", places, visibility) / total.clamp_min(SMALLEST_SHARE)[:, None]
        step = (1 / self.batches.float()).clamp_min(self.momentum) * (total > SMALLEST_SHARE)[:, None]
        self.mean.lerp_(found.to(self.mean.dtype), step.to(self.mean.dtype))


@register_matcher("pooled_alone")
class PooledAlone(Pooled):
    """Cosine of two embeddings, each made of what its own face shows, whatever the other one hides.

    With the names of `Pooled`,

        score = a₀·cos(z(f, ½ + ½·v), z(f′, ½ + ½·u)) + b₀

    Distillation teaches z(f, v) to be the embedding of the uncovered face, so it can be compared with that of any
    other face. `Pooled` leaves out of both faces what one of them hides; strangers then look the more alike the less
    is left, and a threshold of uncovered faces accepts too many of them. A place that is said to be hidden counts
    half, so that a wrong map costs little. A face is one vector here: comparing costs no more than for the backbone.

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> matcher = oaml.PooledAlone(channels=8, map_size=(3, 3), embedding_size=16).eval()
        >>> maps = torch.rand(2, 8, 3, 3)
        >>> matcher.match(maps, maps).shape
        torch.Size([2, 2])
    """

    hidden_counts = 0.5

    def describe(self, maps: Tensor, visibility: Tensor) -> Tensor:
        """Return the unit vectors [N, E] whose cosines `match` takes.

        Args:
            maps: [N, C, h, w].
            visibility: [N, 1, h, w] in [0, 1], or of more places; of no account where `weighting` is `none`.
        """
        return self.embed(maps, torch.ones_like(visibility) if self.weighting == "none" else visibility)

    def embed(self, maps: Tensor, visibility: Tensor) -> Tensor:
        """Return z(f, ½ + ½·v) at unit length, [N, E]; see `Pooled.embed`."""
        coarse = resize_visibility(visibility, self.map_size)
        return self._compared(self.contributions(maps.flatten(2)), coarse.flatten(1))

    def _compared(self, places: Tensor, visibility: Tensor) -> Tensor:
        counts = self.hidden_counts + (1 - self.hidden_counts) * visibility
        beyond = ((places - self.mean) * counts[..., None]).sum(1)
        return functional.normalize(self.offset + self.mean.sum(0) + beyond, dim=1)

    @property
    def line(self) -> tuple[float, float]:
        """Return a₀ and b₀, the scale and the shift of the score."""
        return self.scale[0].item(), self.shift[0].item()

    def _match_pairs(self, probe: Tensor, gallery: Tensor, v: Tensor | None, u: Tensor | None) -> Tensor:
        left, right = self._prepared(probe, v), self._prepared(gallery, u, gallery=True)
        return self.logits((left.places * right.places).sum(1))

    def _match_candidates(self, probe: Tensor, gallery: Tensor, candidates: Tensor, v: Tensor | None) -> Tensor:
        left, right = self._prepared(probe, v), self._prepared(gallery, None, gallery=True)
        return self.logits(torch.einsum("pe,pke->pk", left.places, right.places[candidates]))

    def _score_block(self, probe: Contributions, rows: slice, gallery: Contributions) -> Tensor:
        return self.logits(probe.places[rows] @ gallery.places.T)

    def logits(self, cosine: Tensor) -> Tensor:
        """Return scores of cosines of two faces' vectors, of any shape."""
        return self.scale[0] * cosine + self.shift[0]
