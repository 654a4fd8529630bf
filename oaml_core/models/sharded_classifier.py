"""A classifier over many identities: its rows are shared out among the workers, and a step takes a sample of them.

Partial FC (An et al. 2022, "Killing Two Birds with One Stone", section 3): the classes of the global batch take part
in a step, and each other class with the probability `sample_rate`. Softmax and gradient are exact for the classes that
take part; at rate 1 they are those of `MarginHead`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.models.classifier import HeadLoss, IdentityClassifier
from oaml_core.models.global_batch import batch_sizes, gather_batch, is_distributed, own_rows
from oaml_core.models.margin import Margin

BLOCK = 1024
"""Classes whose first weights come from one seed."""
INITIAL, DRAW = 1, 2
"""What random numbers are for; part of their seed."""


class ShardedClassifier(IdentityClassifier):
    """Classifier of identities in which each worker holds the rows of its own classes.

    Each computes logits of the global batch for a sample of its classes.

    Memory on one worker, in bytes, for C identities over W workers, embeddings of E numbers, a global batch of B and a
    sample rate ρ:

    - weights and momentum: 2 · 4 · C/W · E, always;
    - sampled rows, these at unit length, and the gradients of both: 4 · 4 · ρC/W · E;
    - logits, what leads to them, and their gradients: about 6 · 4 · B · ρC/W.

    With C = 360,000, E = 512, B = 1,024 on one GPU: 1.5 + 0.3 + 0.9 = 2.7 GB at ρ = 0.1, and 1.5 + 2.9 + 8.8 = 13.3 GB
    at ρ = 1. Of 80 GB, 66 and more are left to the backbone and its activations. All terms grow in proportion to C and
    fall in proportion to W. A checkpoint has all of the weights and their momentum: 8 · C · E, here 1.5 GB.

    Which classes take part depends on the seed, the step and the batch, not on the number of workers. Their rows alone
    have a gradient (a sparse one), and only they move: see `oaml_core.training.row_sgd`.

    Args:
        embedding_size, num_classes, margin: as in `IdentityClassifier`.
        sample_rate: probability, in (0, 1], that a class that is not in the batch takes part.
        seed: of the first weights and of the sampling.
    """

    step: Tensor

    def __init__(self, embedding_size: int, num_classes: int, margin: Margin, *, sample_rate: float, seed: int) -> None:
        super().__init__(embedding_size, num_classes, margin)
        self.sample_rate = sample_rate
        self.seed = seed
        rank, size = (dist.get_rank(), dist.get_world_size()) if is_distributed() else (0, 1)
        self.own = class_shares(num_classes, size)[rank]
        self.rows = nn.Parameter(_initial_rows(self.own, num_classes, embedding_size, seed))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def loss(self, embedding: Tensor, norm: Tensor, label: Tensor) -> HeadLoss:
        self.check(embedding, norm, label)
        sizes = batch_sizes(label)
        if self.training:
            self.margin.observe(norm)
        norms, labels = gather_batch(norm.detach(), sizes), gather_batch(label, sizes)
        taking_part = self._taking_part(labels)
        ours = torch.nonzero((labels >= self.own.start) & (labels < self.own.stop))[:, 0]
        columns = torch.searchsorted(taking_part, labels[ours] - self.own.start)
        with torch.autocast(embedding.device.type, enabled=False):
            cosine = gather_batch(embedding.float(), sizes) @ functional.normalize(self._picked(taking_part)).T
            logits = self.margin.logits(cosine, norms, ours, columns)
            loss, correct = _ShardedCrossEntropy.apply(logits, ours, columns)
        return HeadLoss(loss[own_rows(sizes)], correct[own_rows(sizes)])

    def centres(self) -> Tensor:
        return functional.normalize(gather_rows(self.rows.detach(), self.num_classes))

    def _taking_part(self, labels: Tensor) -> Tensor:
        """This worker's classes in this step, counted from its first, in order."""
        if not self.training or self.sample_rate == 1:
            return torch.arange(len(self.own), device=labels.device)
        # Drawn on the CPU for all classes, so that neither the device nor the number of workers changes a draw.
        draws = np.random.default_rng([DRAW, self.seed, int(self.step)]).random(self.num_classes, dtype=np.float32)
        self.step += 1
        taking_part = torch.from_numpy(draws < self.sample_rate).to(labels.device)
        taking_part[labels] = True
        return taking_part[self.own.start : self.own.stop].nonzero()[:, 0]

    def _picked(self, classes: Tensor) -> Tensor:
        """Return rows of `classes`. Their gradient is the workers' mean, as that of every other parameter: each
        worker's loss
        adds to it, but only one has the row."""
        picked = functional.embedding(classes, self.rows, sparse=True)
        if picked.requires_grad and is_distributed():
            picked.register_hook(lambda gradient: gradient / dist.get_world_size())
        return picked


class _ShardedCrossEntropy(torch.autograd.Function):
    """Cross-entropy of the global batch where each worker has the logits [B, K_r] of its own classes.

    Every worker learns the loss [B] of every sample, and whether its own class wins; the gradient of a sample's loss is
    the sum over the workers that use it. Exchanged are 4 · B numbers.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        peak = logits.amax(1) if logits.shape[1] else logits.new_full((len(logits),), -torch.inf)
        _reduce(peak, dist.ReduceOp.MAX)
        probability = (logits - peak[:, None]).exp_()
        own = torch.zeros_like(peak)
        own[rows] = logits[rows, columns] - peak[rows]
        sums = torch.stack([probability.sum(1), own])
        _reduce(sums, dist.ReduceOp.SUM)
        probability /= sums[0][:, None]
        ctx.save_for_backward(probability, rows, columns)
        correct = (sums[1] >= 0).float()
        ctx.mark_non_differentiable(correct)
        return sums[0].log() - sums[1], correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        probability, rows, columns = ctx.saved_tensors
        upstream = gradients[0].clone()
        _reduce(upstream, dist.ReduceOp.SUM)
        gradient = probability * upstream[:, None]
        gradient[rows, columns] -= upstream[rows]
        return gradient, None, None


def class_shares(num_classes: int, workers: int) -> list[range]:
    """Classes that each worker holds: equally many, or one more on the first few."""
    least, more = divmod(num_classes, workers)
    starts = [rank * least + min(rank, more) for rank in range(workers + 1)]
    return [range(first, after) for first, after in pairwise(starts)]


def gather_rows(share: Tensor, num_classes: int) -> Tensor:
    """Return the rows [classes, …] of all workers on the main one's CPU, of which each holds `class_shares`; others
    get none.

    They come one share after the other, so that no GPU needs room for all of them. Every worker must call it.
    """
    if not is_distributed():
        return share
    if dist.get_rank() > 0:
        if len(share):
            dist.send(share.contiguous(), 0)
        return share[:0]
    whole = torch.empty(num_classes, *share.shape[1:], dtype=share.dtype)
    for rank, rows in enumerate(class_shares(num_classes, dist.get_world_size())):
        part = share if rank == 0 else share.new_empty(len(rows), *share.shape[1:])
        if rank > 0 and len(rows):
            dist.recv(part, rank)
        whole[rows.start : rows.stop] = part
    return whole


def _initial_rows(own: range, num_classes: int, embedding_size: int, seed: int) -> Tensor:
    """First weights [len(own), E], normal with variance 1/E; those of a class are the same on any number of workers."""
    rows = np.empty((len(own), embedding_size), np.float32)
    for block in range(own.start // BLOCK, -(-own.stop // BLOCK)):
        first, after = block * BLOCK, min((block + 1) * BLOCK, num_classes)
        drawn = np.random.default_rng([INITIAL, seed, block]).standard_normal(
            (after - first, embedding_size), dtype=np.float32
        )
        kept = range(max(first, own.start), min(after, own.stop))
        rows[kept.start - own.start : kept.stop - own.start] = drawn[kept.start - first : kept.stop - first]
    return torch.from_numpy(rows).mul_(embedding_size**-0.5)


def _reduce(values: Tensor, operation: Any) -> None:
    if is_distributed():
        dist.all_reduce(values, operation)
