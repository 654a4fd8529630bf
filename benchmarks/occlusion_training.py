"""Training of what stands on a frozen backbone, from its cached features: for `benchmarks/occlusion.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from occlusion_checkpoints import save
from occlusion_features import Work
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.losses.pairwise import pair_scores, pairwise_matching_loss
from oaml_core.models.pooled import Pooled

MEAN_OF = 256
"""Clean training faces that the mean face is taken from."""
SET_ASIDE = 150
"""Training people that `train` leaves out and `weight` takes."""
COVERED = 0.8
"""Share of a batch for which any version of a face is drawn; the rest is clean for sure."""
PAIRWISE = 0.1
"""Share of the pairwise loss's gradient that the feature maps follow."""


@dataclass(frozen=True)
class Cached:
    """Features of all training faces, [n, 1 + DRAWINGS, …]."""

    earlier: NDArray[np.float16]
    raw: NDArray[np.float32]
    visible: NDArray[np.float32]
    labels: NDArray[np.int64]

    def of_people(self, *, kept: bool) -> Cached:
        """Return the faces of the `SET_ASIDE` people of the highest labels, or of all others."""
        rows = (self.labels > self.labels.max() - SET_ASIDE) == kept
        return Cached(self.earlier[rows], self.raw[rows], self.visible[rows], self.labels[rows])

    def batches(self, people: int, generator: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield batches of `people`, up to four images each, without end: input, visibility, label, clean embedding."""
        of = {label: np.flatnonzero(self.labels == label) for label in np.unique(self.labels)}
        several = [rows for rows in of.values() if len(rows) > 1]
        while True:
            chosen = generator.choice(len(several), people, replace=False)
            rows = np.concatenate([generator.permutation(several[one])[:4] for one in chosen])
            version = generator.integers(self.earlier.shape[1], size=len(rows)) * (
                generator.random(len(rows)) < COVERED
            )
            yield (
                torch.from_numpy(self.earlier[rows, version]).float().contiguous(memory_format=torch.channels_last),
                torch.from_numpy(self.visible[rows, version]),
                torch.from_numpy(self.labels[rows]),
                functional.normalize(torch.from_numpy(self.raw[rows, 0]), dim=1),
            )


def cached(folder: Path) -> Cached:
    parts = [np.load(path) for path in sorted(folder.glob("train-*.npz"))]
    return Cached(*(np.concatenate([part[name] for part in parts]) for name in ("earlier", "raw", "visible", "labels")))


def train(work: Work, steps: int, people: int, lr: float) -> None:
    """Pairwise matching, nearness to the clean face's embedding, and visibility; batch statistics stay the backbone's.

    loss = pairwise + 20·(1 − cos(z, e)) + 20·(1 − cos(z′, e)) + 100·(v̂ − v)²: z the covered face's pooled embedding of
    its visible places, z′ that of the places which another face of the batch shows too, e the backbone's embedding of
    the same image without occluder. The pairwise loss knows these people only, and e what the backbone learnt of all of
    its own: to the maps goes `PAIRWISE` of the former's gradient.
    """
    model, generator = work.model, np.random.default_rng(work.config.seed)
    local, matcher, head = model.local_layers, model.matcher, model.visibility_head
    assert local is not None
    assert isinstance(matcher, Pooled)
    head.train()
    everything = [*local.parameters(), *matcher.parameters(), *head.parameters()]
    scales = [matcher.scale, matcher.shift]
    others = [p for p in everything if all(p is not scale for scale in scales)]
    optimiser = torch.optim.AdamW([{"params": others, "lr": lr}, {"params": scales, "lr": 30 * lr}], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [lr, 30 * lr], total_steps=steps, pct_start=min(0.3, 20 / steps), cycle_momentum=False
    )
    data = cached(work.folder).of_people(kept=False)
    batches = data.batches(people, generator)
    if not matcher.batches:
        start_mean(local, matcher, data)
    for step, (earlier, visible, labels, clean) in zip(range(1, steps + 1), batches, strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            maps = local(earlier)
            predicted = head(maps.detach())
        maps = maps.float()
        held = torch.lerp(maps.detach(), maps, PAIRWISE)
        scores = matcher.match(held, held, visible, visible)
        both = visible * visible[torch.from_numpy(generator.permutation(len(labels)))]
        pairs = pair_scores(scores, labels, labels, torch.arange(len(labels)))
        terms = {
            "pairwise": pairwise_matching_loss(pairs).loss.mean(),
            "clean": 20 * (1 - (pooled(matcher, maps, visible) * clean).sum(1).mean()),
            "clean of both": 20 * (1 - (pooled(matcher, maps, both) * clean).sum(1).mean()),
            "visibility": 100 * functional.mse_loss(predicted, visible),
        }
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(others, 5.0)
        optimiser.step()
        schedule.step()
        if step % 25 == 0:
            told = ", ".join(f"{name} {value.item():.3f}" for name, value in terms.items())
            print(f"step {step}: {told}, {time.process_time():.0f} s of processor time", flush=True)
        if step % 50 == 0 or step == steps:
            save(work, step)


def start_mean(local: nn.Module, matcher: Pooled, data: Cached) -> None:
    """The mean face before training; it is kept, so that batches of covered faces do not move it."""
    with torch.no_grad():
        maps = local(torch.from_numpy(data.earlier[:MEAN_OF, 0]).float())
        matcher.mean.copy_(matcher.contributions(maps.flatten(2)).mean(0))
        matcher.batches.add_(1)


def pooled(matcher: Pooled, maps: Tensor, visible: Tensor) -> Tensor:
    """z of the matcher's docstring for faces of their own visibility, at unit length."""
    beyond = (matcher.contributions(maps.flatten(2)) - matcher.mean) * visible.flatten(1)[..., None]
    return functional.normalize(matcher.offset + matcher.mean.sum(0) + beyond.sum(1), dim=1)
