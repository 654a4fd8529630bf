"""Amounts of work in an evaluation that is shared out: what shards do, and what is left to the merge.

    python -m benchmarks.shared_evaluation merge            # templates: pooling and pairs of IJB-C's size
    python -m benchmarks.shared_evaluation describe         # templates: images/s
    python -m benchmarks.shared_evaluation score            # verification sets: pairs/s under a condition

Embeddings, faces and weights are drawn at random: they take the time that others take. Times are processor time, on a
GPU (`score --device cuda`) wall-clock time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.told import run
from oaml_core.config import ModelConfig
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.evaluation.scoring.conditions import conditions_of
from oaml_core.evaluation.scoring.scores import score_conditions
from oaml_core.evaluation.templates.benchmark import run_templates
from oaml_core.evaluation.templates.lists import TemplateLists
from oaml_core.evaluation.templates.pooling import BATCH, DescribedRows
from oaml_core.models.recogniser import build_recogniser
from oaml_core.peak_memory import peak_mib

WIDTH = 512
"""Numbers of an embedding."""


def merge(images: int, templates: int, pairs: int) -> None:
    """Pool embeddings as shards leave them, and compare pairs: seconds of one core, and memory."""
    generator = np.random.default_rng(0)
    template = np.concatenate([np.arange(templates), generator.integers(0, templates, images - templates)])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x_template_pair_label.txt"
        with file.open("w") as lines:
            for start in range(0, pairs, 100_000):
                count = min(100_000, pairs - start)
                first = generator.integers(0, templates // 2, count)
                same = (generator.random(count) < 0.001).astype(int)
                second = np.where(same, templates // 2 + first, generator.integers(templates // 2, templates, count))
                same |= second == templates // 2 + first  # a pair that is listed twice has one truth
                lines.writelines(f"{a} {b} {c}\n" for a, b, c in zip(first, second, same, strict=True))
        lists = TemplateLists(
            "x",
            Path(folder),
            [""] * images,
            template,
            np.arange(images),
            None,
            None,
            np.arange(templates),
            file,
            None,
            (),
            None,
        )

        def run() -> None:
            began = time.process_time()
            run_templates(CheckpointComparer(torch.nn.Identity(), 112), lists, _drawn(images))
            print(f"{time.process_time() - began:.1f} s of one core")

        print(f"{peak_mib(run):,.0f} MiB")


def _drawn(images: int) -> Iterator[DescribedRows]:
    generator = np.random.default_rng(1)
    for start in range(0, images, 64 * BATCH):
        count = min(64 * BATCH, images - start)
        yield DescribedRows(start, generator.random((count, WIDTH), np.float32), np.ones(count, np.float32))


def _recogniser(arch: str) -> torch.nn.Module:
    torch.set_num_threads(1)
    return build_recogniser(ModelConfig(arch=arch)).eval()


def _faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), np.uint8)


def describe(arch: str) -> None:
    """Describe a batch of images with their mirror images: images/s of one core."""
    model, faces = CheckpointComparer(_recogniser(arch), 112), _faces(BATCH)
    model.records(faces)
    began = time.process_time()
    model.records(faces)
    print(f"{arch}: {BATCH / (time.process_time() - began):.1f} images/s of one core")


def score(arch: str, pairs: int, device: str) -> None:
    """Score pairs of different images, clean and with a veil on the second: pairs/s of a device under a condition."""
    model, faces = _recogniser(arch).to(device), _faces(2 * pairs)
    clock = time.process_time if device == "cpu" else time.perf_counter
    for conditions in (conditions_of(()), conditions_of(("veil",))[1:]):
        score_conditions(model, faces, conditions, device=device)
        began = clock()
        score_conditions(model, faces, conditions, device=device)
        print(f"{arch}, {conditions[0].name}: {pairs / (clock() - began):.1f} pairs/s of one {device}")


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("merge", "describe", "score"))
    parser.add_argument("--images", type=int, default=469_375)
    parser.add_argument("--templates", type=int, default=23_124)
    parser.add_argument("--pairs", type=int, default=None)
    parser.add_argument("--arch", default="mobilefacenet")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    given = parser.parse_args()
    if given.what == "merge":
        merge(given.images, given.templates, given.pairs or 15_658_489)
    elif given.what == "describe":
        describe(given.arch)
    else:
        score(given.arch, given.pairs or 96, given.device)


if __name__ == "__main__":
    run(main)
