"""Contrastive distillation: a covered face is to be told from all other people's faces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from oaml_core.losses.distillation import contrast


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_it_is_the_cross_entropy_among_other_peoples_targets() -> None:
    embedding, target, known = unit(3, 8, seed=0), unit(3, 8, seed=1), unit(5, 8, seed=2)
    labels, known_labels = torch.tensor([0, 1, 7]), torch.tensor([0, 0, 1, 2, 3])

    found = contrast(embedding, target, labels, known, known_labels, scale=10.0)

    for row in range(3):
        own = (10 * embedding[row] @ target[row]).exp()
        others = (10 * known[known_labels != labels[row]] @ embedding[row]).exp().sum()
        torch.testing.assert_close(found[row], -(own / (own + others)).log())


def test_a_near_stranger_pushes_and_an_image_of_the_same_person_does_not() -> None:
    embedding = unit(1, 8, seed=3).requires_grad_()
    near = normalize(embedding.detach() + 0.1 * unit(1, 8, seed=4), dim=1)
    target = unit(1, 8, seed=5)

    def push(label: int) -> float:
        loss = contrast(embedding, target, torch.tensor([0]), near, torch.tensor([label]), scale=16.0).sum()
        (gradient,) = torch.autograd.grad(loss, embedding)
        return float(gradient @ near.squeeze(0))

    assert push(1) > 1  # a step against the gradient leads away from the stranger
    assert push(0) == 0


def test_no_gradient_reaches_the_targets() -> None:
    target, known = unit(2, 8, seed=6).requires_grad_(), unit(4, 8, seed=7).requires_grad_()
    embedding = unit(2, 8, seed=8).requires_grad_()
    contrast(embedding, target, torch.tensor([0, 1]), known, torch.tensor([2, 3, 4, 5]), scale=16.0).sum().backward()
    assert embedding.grad is not None
    assert target.grad is None
    assert known.grad is None
