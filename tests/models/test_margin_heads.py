"""Margin heads against the published implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from oaml_core.config import ModelConfig
from oaml_core.errors import ModelInputError
from oaml_core.models.margin_heads import MarginHead, build_margin_head

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "margin_heads.npz")
CASES = {
    "adaface_m0.4_h0.333_t0.01": ModelConfig(head="adaface", m=0.4, h=0.333, t_alpha=0.01),
    "adaface_m0.5_h0.0_t0.01": ModelConfig(head="adaface", m=0.5, h=0.0, t_alpha=0.01),
    "adaface_m0.4_h0.333_t1.0": ModelConfig(head="adaface", m=0.4, h=0.333, t_alpha=1.0),
    "arcface_m0.5": ModelConfig(head="arcface", m=0.5),
    "cosface_m0.4": ModelConfig(head="cosface", m=0.4),
}


def head_of(config: ModelConfig) -> MarginHead:
    head = build_margin_head(config, 16, 10)
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


@pytest.mark.parametrize("case", [case for case in sorted(CASES) if case.startswith("adaface")])
def test_running_norm_statistics_are_the_published_ones(case: str) -> None:
    head = head_of(CASES[case])
    head(*(torch.from_numpy(REFERENCE[name]) for name in ("embeddings", "norms", "labels")))
    state = head.state_dict()
    np.testing.assert_allclose(state["batch_mean"].numpy(), REFERENCE[f"{case}.batch_mean_after"], rtol=1e-4)
    np.testing.assert_allclose(state["batch_std"].numpy(), REFERENCE[f"{case}.batch_std_after"], rtol=1e-4)


def test_running_statistics_rest_in_evaluation() -> None:
    head = head_of(CASES["adaface_m0.4_h0.333_t1.0"]).eval()
    head(*(torch.from_numpy(REFERENCE[name]) for name in ("embeddings", "norms", "labels")))
    assert head.state_dict()["batch_mean"].item() == 20.0


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"\[B, 16\]"):
        head_of(CASES["arcface_m0.5"])(torch.zeros(2, 8), torch.ones(2, 1), torch.zeros(2, dtype=torch.int64))
