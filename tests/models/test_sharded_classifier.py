"""Sharing a classifier out, and sampling it, leaves the mathematics what they were."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from gloo_workers import run_workers
from torch import Tensor, nn

from oaml_core.config import ModelConfig
from oaml_core.errors import ModelInputError
from oaml_core.models.classifier import IdentityClassifier
from oaml_core.models.global_batch import is_distributed
from oaml_core.models.margin import build_margin
from oaml_core.models.margin_heads import MarginHead
from oaml_core.models.sharded_classifier import ShardedClassifier, class_shares
from oaml_core.training.row_sgd import RowSGD, clip_gradients

CONFIG = ModelConfig(m=0.4, h=0.333, s=16)
SIZE, INPUTS, BATCH = 8, 5, 7


class Run:
    """A linear "backbone" and a classifier, trained as a worker trains them."""

    def __init__(self, classifier: IdentityClassifier) -> None:
        self.classifier = classifier
        self.backbone = nn.Linear(INPUTS, SIZE)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.backbone.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        parameters = [*self.backbone.parameters(), *classifier.parameters()]
        self.optimiser = RowSGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)

    def step(self, number: int, own: slice, workers: int, limit: float | None = None) -> tuple[float, float, Tensor]:
        """Loss and accuracy of the global batch, and the norm of the gradient."""
        generator = torch.Generator().manual_seed(number)
        images = torch.randn(BATCH, INPUTS, generator=generator)[own]
        labels = torch.randint(0, self.classifier.num_classes, (BATCH,), generator=generator)[own]
        raw = self.backbone(images)
        norm = raw.norm(dim=1, keepdim=True)
        result = self.classifier.loss(raw / norm, norm, labels)
        share = len(labels) * workers / BATCH
        loss, correct = result.loss.mean() * share, result.correct.mean() * share
        loss.backward()
        both = torch.stack([loss.detach(), correct])
        if is_distributed():
            torch.distributed.all_reduce(both)
            for parameter in self.backbone.parameters():
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= workers  # as DistributedDataParallel does
        self.gradient = {
            "backbone": self.backbone.weight.grad.clone(),
            "rows": next(p for n, p in self.classifier.named_parameters() if n in ("rows", "kernel")).grad.clone(),
        }
        length = clip_gradients(self.optimiser, limit)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return (both[0] / workers).item(), (both[1] / workers).item(), length


def slices(workers: int) -> list[slice]:
    """Unequal ones: 7 images on two workers, or three."""
    bounds = np.linspace(0, BATCH, workers + 1).astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


CASES: dict[str, dict[str, Any]] = {
    "all classes": {"classes": 10, "rate": 1.0, "steps": 3, "limit": 0.5},
    "a sample": {"classes": 40, "rate": 0.25, "steps": 4},
    "fewer classes than workers": {"classes": 2, "rate": 1.0, "steps": 2},
}
SHARED_OUT = ("rows", "row gradient", "centres")


def train(rank: int, workers: int) -> dict[str, dict[str, Tensor]]:
    """What a worker of `workers` has seen and learnt, in each case."""
    return {name: train_case(rank, workers, **case) for name, case in CASES.items()}


def train_case(
    rank: int, workers: int, *, classes: int, rate: float, steps: int, limit: float | None = None
) -> dict[str, Tensor]:
    classifier = ShardedClassifier(SIZE, classes, build_margin(CONFIG), sample_rate=rate, seed=11)
    run = Run(classifier)
    seen = [run.step(number, slices(workers)[rank], workers, limit) for number in range(steps)]
    return learnt(run, seen) | {
        "rows": classifier.rows.detach(),
        "row gradient": run.gradient["rows"].to_dense(),
        "centres": classifier.centres(),
    }


def learnt(run: Run, seen: list[Any]) -> dict[str, Tensor]:
    state = run.classifier.state_dict()
    return {
        "loss, accuracy, norm of the gradient": torch.tensor(seen),
        "backbone": run.backbone.weight.detach(),
        "backbone gradient": run.gradient["backbone"],
        "statistics": torch.cat([state["margin.batch_mean"], state["margin.batch_std"]]),
    }


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Tensor]]:
    return train(0, 1)


@pytest.fixture(scope="module", params=[2, 3])
def together(request: pytest.FixtureRequest) -> dict[str, dict[str, Tensor]]:
    """What several workers have learnt, rows put together; all else must be the same on each."""
    parts = run_workers(train, request.param, request.param)
    for case in CASES:
        for name in set(parts[0][case]) - set(SHARED_OUT):
            for part in parts[1:]:
                torch.testing.assert_close(part[case][name], parts[0][case][name], rtol=1e-6, atol=1e-6)
    rows = {case: {name: torch.cat([part[case][name] for part in parts]) for name in SHARED_OUT} for case in CASES}
    return {case: parts[0][case] | rows[case] for case in CASES}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


def test_with_all_classes_it_is_the_margin_head(alone: dict[str, dict[str, Tensor]]) -> None:
    head = MarginHead(SIZE, 10, build_margin(CONFIG))
    with torch.no_grad():
        head.kernel.copy_(ShardedClassifier(SIZE, 10, build_margin(CONFIG), sample_rate=1.0, seed=11).rows.T)
    run = Run(head)
    expected = learnt(run, [run.step(number, slice(None), 1, 0.5) for number in range(3)])
    expected |= {
        "rows": head.kernel.detach().T,
        "row gradient": run.gradient["rows"].T,
        "centres": head.centres(),
    }
    assert_alike(alone["all classes"], expected)


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_number_of_workers_changes_nothing(
    case: str, alone: dict[str, dict[str, Tensor]], together: dict[str, dict[str, Tensor]]
) -> None:
    assert_alike(together[case], alone[case])


def test_the_classes_of_the_batch_and_a_share_of_the_others_move_and_the_others_rest() -> None:
    classifier = ShardedClassifier(SIZE, 2000, build_margin(CONFIG), sample_rate=0.1, seed=0)
    run = Run(classifier)
    moved, before = [], classifier.rows.detach().clone()
    for number in range(2):
        run.step(number, slice(None), 1)
        moved.append(set((classifier.rows.detach() != before).any(1).nonzero()[:, 0].tolist()))
        generator = torch.Generator().manual_seed(number)
        torch.randn(BATCH, INPUTS, generator=generator)
        assert set(torch.randint(0, 2000, (BATCH,), generator=generator).tolist()) <= moved[-1]
        before = classifier.rows.detach().clone()
    assert all(150 < len(each) < 260 for each in moved)
    assert len(moved[0] & moved[1]) < 50, "each step draws anew"
    momentum = run.optimiser.state[classifier.rows]["momentum_buffer"]
    assert set(momentum.any(1).nonzero()[:, 0].tolist()) == moved[0] | moved[1]


def test_the_draw_goes_on_after_a_restart() -> None:
    def drawn(classifier: ShardedClassifier) -> list[int]:
        return classifier._taking_part(torch.tensor([0])).tolist()

    first = ShardedClassifier(SIZE, 200, build_margin(CONFIG), sample_rate=0.2, seed=0)
    earlier = drawn(first)
    second = ShardedClassifier(SIZE, 200, build_margin(CONFIG), sample_rate=0.2, seed=0)
    second.load_state_dict(first.state_dict())
    expected = drawn(first)
    assert drawn(second) == expected != earlier
    other = ShardedClassifier(SIZE, 200, build_margin(CONFIG), sample_rate=0.2, seed=1)
    assert drawn(other) != earlier


def test_all_classes_take_part_in_evaluation() -> None:
    classifier = ShardedClassifier(SIZE, 200, build_margin(CONFIG), sample_rate=0.05, seed=0).eval()
    head = MarginHead(SIZE, 200, build_margin(CONFIG)).eval()
    with torch.no_grad():
        head.kernel.copy_(classifier.rows.T)
    embedding = torch.nn.functional.normalize(torch.randn(4, SIZE, generator=torch.Generator().manual_seed(0)))
    arguments = embedding, torch.full((4, 1), 20.0), torch.tensor([0, 5, 100, 199])
    torch.testing.assert_close(classifier.loss(*arguments), head.loss(*arguments))


def test_labels_out_of_range_are_refused() -> None:
    classifier = ShardedClassifier(SIZE, 20, build_margin(CONFIG), sample_rate=0.5, seed=0)
    with pytest.raises(ModelInputError, match="from 3 to 20, the head has classes 0 to 19"):
        classifier.loss(torch.zeros(2, SIZE), torch.ones(2, 1), torch.tensor([3, 20]))


def test_shares_cover_all_classes_once() -> None:
    assert class_shares(10, 3) == [range(4), range(4, 7), range(7, 10)]
    assert class_shares(2, 3) == [range(1), range(1, 2), range(2, 2)]


@pytest.mark.gpu
def test_a_gpu_learns_the_same() -> None:
    learnt: dict[str, list[Tensor]] = {}
    for device in ("cpu", "cuda"):
        classifier = ShardedClassifier(SIZE, 500, build_margin(CONFIG), sample_rate=0.2, seed=0).to(device)
        optimiser = RowSGD(classifier.parameters(), lr=0.1, momentum=0.9)
        for number in range(3):
            generator = torch.Generator().manual_seed(number)
            embedding = nn.functional.normalize(torch.randn(BATCH, SIZE, generator=generator)).to(device)
            label = torch.randint(0, 500, (BATCH,), generator=generator).to(device)
            result = classifier.loss(embedding, torch.full((BATCH, 1), 20.0, device=device), label)
            result.loss.mean().backward()
            norm = clip_gradients(optimiser, 1.0)
            optimiser.step()
        learnt[device] = [classifier.rows.detach().cpu(), result.loss.detach().cpu(), norm.cpu()]
    torch.testing.assert_close(learnt["cuda"], learnt["cpu"], rtol=1e-3, atol=1e-4)
