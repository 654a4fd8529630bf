"""Which weights the benchmark's combined score has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from untrained import write_untrained

from oaml_core.config import EvaluateConfig, ModelConfig
from oaml_core.evaluation.covered.benchmark import run_covered
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.models.recogniser import build_recogniser
from oaml_core.settings import load_config
from oaml_core.stages.load_model import load_model


@pytest.fixture(scope="module")
def faces() -> KnownFaces:
    """Twelve people, three noisy pictures each."""
    draws = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 3)
    looks = draws.integers(0, 256, (12, 14, 14, 3)).repeat(8, 1).repeat(8, 2)
    noisy = looks[people] + draws.normal(0, 40, (36, 112, 112, 3))
    return KnownFaces("noise", noisy.clip(0, 255).astype(np.uint8), people, None, np.zeros(36, np.bool_))


@pytest.mark.parametrize(
    ("stored", "asked", "same_as"),
    [
        ((0.0, 1.0), {}, "local"),
        ((1.0, 0.0), {}, "global"),
        ((0.0, 1.0), {"adaface_weight": 1.0, "qaconv_weight": 0.0}, "global"),
    ],
)
def test_a_checkpoint_brings_its_weights_unless_the_command_names_others(faces, stored, asked, same_as):
    torch.manual_seed(0)
    model = CheckpointComparer(build_recogniser(ModelConfig(arch="ir_mini", width=4)).eval(), 112, weights=stored)
    found = run_covered({"m": model}, faces, [], replace(EvaluateConfig(), **asked), far=0.05, impostors=400)
    scores = found.models["m"]["noise"].figures["clean"]
    other = "global" if same_as == "local" else "local"
    assert scores["combined"].resampled.tolist() == scores[same_as].resampled.tolist()
    assert scores["combined"].resampled.tolist() != scores[other].resampled.tolist()


@pytest.mark.parametrize("strangers", [0, 2048])
def test_a_checkpoint_says_that_its_strangers_are_missing(faces, caplog, tmp_path, strangers):
    config = load_config("smoke", ["--evaluate.strangers", str(strangers)])
    model = load_model(write_untrained(config, tmp_path / "best.ckpt"))
    run_covered({"m": model}, faces, [], EvaluateConfig(), far=0.05, impostors=400)
    assert ("m: its recipe measures combined scores by strangers" in caplog.text) == (strangers > 0)
