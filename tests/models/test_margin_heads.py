"""Margin heads against the published implementation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gloo_workers import run_workers
from torch.nn import functional

from oaml_core.config import ModelConfig
from oaml_core.errors import ModelInputError
from oaml_core.models.build import build_classifier
from oaml_core.models.margin import AdaFace
from oaml_core.models.margin_heads import MarginHead

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "margin_heads.npz")
CASES = {
    "adaface_m0.4_h0.333_t0.01": ModelConfig(head="adaface", m=0.4, h=0.333, t_alpha=0.01),
    "adaface_m0.5_h0.0_t0.01": ModelConfig(head="adaface", m=0.5, h=0.0, t_alpha=0.01),
    "adaface_m0.4_h0.333_t1.0": ModelConfig(head="adaface", m=0.4, h=0.333, t_alpha=1.0),
    "arcface_m0.5": ModelConfig(head="arcface", m=0.5),
    "cosface_m0.4": ModelConfig(head="cosface", m=0.4),
}


def head_of(config: ModelConfig) -> MarginHead:
    head = build_classifier(config, 16, 10, seed=0)
    assert isinstance(head, MarginHead)
    with torch.no_grad():
        head.kernel.copy_(torch.from_numpy(REFERENCE["kernel"]))
    return head


@pytest.mark.parametrize("case", sorted(CASES))
def test_logits_and_gradients_are_the_published_ones(case: str) -> None:
    head = head_of(CASES[case])
    embeddings = torch.from_numpy(REFERENCE["embeddings"]).requires_grad_()
    labels = torch.from_numpy(REFERENCE["labels"])
    logits = head(embeddings, torch.from_numpy(REFERENCE["norms"]), labels)
    np.testing.assert_allclose(logits.detach().numpy(), REFERENCE[f"{case}.logits"], rtol=1e-4, atol=1e-4)
    functional.cross_entropy(logits, labels).backward()
    assert embeddings.grad is not None
    expected = REFERENCE[f"{case}.grad_embeddings_of_ce"]
    np.testing.assert_allclose(embeddings.grad.numpy(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 0.003, 0.01, 0.02, 0.05, math.pi - 0.01])
@pytest.mark.parametrize(("name", "m", "epsilon"), [("arcface", 0.5, 1e-4), ("cosface", 0.35, 1e-4)])
def test_logits_near_the_ends_are_the_published_ones(name: str, m: float, epsilon: float, angle: float) -> None:
    """The published heads keep cosines and angles 1e-4 from their ends, AdaFace 1e-3."""
    head = build_classifier(ModelConfig(head=name, m=m, s=64.0), 2, 2, seed=0)  # type: ignore[arg-type]
    assert isinstance(head, MarginHead)
    with torch.no_grad():
        head.kernel.copy_(torch.eye(2))
    embedding = torch.tensor([[math.cos(angle), math.sin(angle)]])
    kept = min(max(math.cos(angle), -1 + epsilon), 1 - epsilon)
    within = min(max(math.acos(kept) + m, epsilon), math.pi - epsilon)
    expected = 64 * (math.cos(within) if name == "arcface" else kept - m)
    logits = head(embedding, torch.tensor([[20.0]]), torch.tensor([0]))
    assert logits[0, 0].item() == pytest.approx(expected, abs=1e-2 if angle < 0.02 else 1e-3)


@pytest.mark.parametrize("case", [case for case in sorted(CASES) if case.startswith("adaface")])
def test_running_norm_statistics_are_the_published_ones(case: str) -> None:
    head = head_of(CASES[case])
    head(*(torch.from_numpy(REFERENCE[name]) for name in ("embeddings", "norms", "labels")))
    state = head.state_dict()
    np.testing.assert_allclose(state["margin.batch_mean"].numpy(), REFERENCE[f"{case}.batch_mean_after"], rtol=1e-4)
    np.testing.assert_allclose(state["margin.batch_std"].numpy(), REFERENCE[f"{case}.batch_std_after"], rtol=1e-4)


def test_running_statistics_rest_in_evaluation() -> None:
    head = head_of(CASES["adaface_m0.4_h0.333_t1.0"]).eval()
    head(*(torch.from_numpy(REFERENCE[name]) for name in ("embeddings", "norms", "labels")))
    assert head.state_dict()["margin.batch_mean"].item() == 20.0


def statistics_after_two_batches(rank: int, slices: list[slice]) -> tuple[float, float]:
    head = head_of(CASES["adaface_m0.4_h0.333_t1.0"])
    for factor in (1.0, 0.2):
        norms = torch.from_numpy(REFERENCE["norms"]) * factor
        embeddings, labels = (torch.from_numpy(REFERENCE[name]) for name in ("embeddings", "labels"))
        head(embeddings[slices[rank]], norms[slices[rank]], labels[slices[rank]])
    state = head.state_dict()
    return state["margin.batch_mean"].item(), state["margin.batch_std"].item()


def test_running_statistics_are_those_of_the_global_batch() -> None:
    alone = statistics_after_two_batches(0, [slice(None)])
    first, second = run_workers(statistics_after_two_batches, 2, [slice(5), slice(5, None)])
    assert first == second
    assert first == pytest.approx(alone, rel=1e-5)


def test_deviation_of_norms_that_hardly_differ_is_exact() -> None:
    head = head_of(CASES["adaface_m0.4_h0.333_t1.0"])
    norms = 90 + 1e-3 * torch.arange(12.0)[:, None]
    for _ in range(3):
        head(torch.from_numpy(REFERENCE["embeddings"]), norms, torch.from_numpy(REFERENCE["labels"]))
    state = head.state_dict()
    assert state["margin.batch_mean"].item() == pytest.approx(norms.double().mean().item(), rel=1e-6)
    assert state["margin.batch_std"].item() == pytest.approx(norms.double().std().item(), rel=1e-2)


def test_the_deviation_of_two_norms_is_the_unbiased_one_and_of_one_norm_0() -> None:
    margin = AdaFace(m=0.4, s=64.0, h=0.333, t_alpha=1.0)
    margin.observe(torch.tensor([[30.0], [34.0]]))
    assert margin.batch_std.item() == pytest.approx(8**0.5)
    margin.observe(torch.tensor([[30.0]]))
    assert margin.batch_std.item() == 0


@pytest.mark.parametrize("std", [0.01, 10.0, 300.0])
@pytest.mark.parametrize("norm", [0.0, 19.0, 20.004, 60.0, 1000.0])
def test_adaface_is_its_formula_also_where_quality_and_norm_are_cut_off(norm: float, std: float) -> None:
    margin = AdaFace(m=0.4, s=64.0, h=0.333, t_alpha=0.01)
    margin.batch_std.fill_(std)
    quality = min(max((min(max(norm, 0.001), 100) - 20) / (std + 1e-3) * 0.333, -1), 1)
    cosines = torch.tensor([[-0.999], [-0.3], [0.5], [0.999]])
    angles = [min(max(math.acos(cosine) - 0.4 * quality, 1e-3), math.pi - 1e-3) for cosine in cosines[:, 0].tolist()]
    expected = torch.tensor([[math.cos(angle) - (0.4 + 0.4 * quality)] for angle in angles])
    harder = margin.harder(cosines, torch.full((4, 1), norm))
    torch.testing.assert_close(harder, expected, rtol=0, atol=2e-4)


def test_the_loss_says_which_samples_are_nearest_to_their_own_class() -> None:
    head = head_of(CASES["cosface_m0.4"])
    embeddings = functional.normalize(head.kernel.detach().T[:4])
    labels = torch.tensor([0, 1, 5, 3])
    found = head.loss(embeddings, torch.full((4, 1), 20.0), labels)
    assert found.correct.tolist() == [1.0, 1.0, 0.0, 1.0]
    torch.testing.assert_close(head.centres()[:4], embeddings)


def test_a_fresh_heads_classes_have_about_unit_length() -> None:
    head = build_classifier(ModelConfig(head="cosface"), 64, 500, seed=0)
    assert isinstance(head, MarginHead)
    assert head.kernel.norm(dim=0).mean().item() == pytest.approx(1, abs=0.02)
    assert head.kernel.mean().item() == pytest.approx(0, abs=0.01)


LABELS = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("embedding", "norm", "label", "message"),
    [
        (torch.zeros(2, 8), torch.ones(2, 1), LABELS, r"embedding \[B, 16\].*\[2, 8\]"),
        (torch.zeros(2, 16), torch.ones(2), LABELS, r"norm \[B, 1\].*\[2\]"),
        (torch.zeros(2, 16), torch.ones(2, 1), LABELS[:1], r"label \[B\].*\[1\]"),
        (torch.zeros(2, 16), torch.ones(2, 1), LABELS.float(), "int64"),
        (torch.zeros(2, 16), torch.ones(2, 1), LABELS + 10, "from 10 to 10.*classes 0 to 9"),
        (torch.zeros(2, 16), torch.ones(2, 1), LABELS - 1, "from -1 to -1"),
        (torch.zeros(2, 16, device="meta"), torch.ones(2, 1), LABELS, "weights on cpu, embedding on meta"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    embedding: torch.Tensor, norm: torch.Tensor, label: torch.Tensor, message: str
) -> None:
    head = head_of(CASES["adaface_m0.4_h0.333_t1.0"])
    with pytest.raises(ModelInputError, match=message):
        head(embedding, norm, label)
    assert head.state_dict()["margin.batch_mean"].item() == 20.0
