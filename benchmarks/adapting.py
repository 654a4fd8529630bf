"""Processor time of a step of `configs/adapt.yaml`, in float32 and in bfloat16.

    python -m benchmarks.adapting --weights mobilefacenet_y1.onnx --rounds 5

Both ways take turns, so that other work on the machine does little harm. Faces and targets are random numbers; reading
and covering faces is not part of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import normalize

from benchmarks.figures import Sheet
from benchmarks.told import run
from benchmarks.training import our_step
from oaml_core.config import Config
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import load_config
from oaml_core.training.known_targets import KnownTargets

RECIPE = Path(__file__).parents[1] / "configs" / "adapt.yaml"
PEOPLE = 48
MAP = 28
"""Places of the early visibility map on each side."""


def drawn(config: Config, size: int) -> tuple[TrainingBatch, KnownTargets]:
    """Return a batch of random faces, and their targets of `size` numbers."""
    count = config.data.batch_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 112, 112), generator=generator, dtype=torch.uint8)
    visible = (torch.rand(count, 1, MAP, MAP, generator=generator) > 0.2).float()
    labels = torch.arange(count) // (count // PEOPLE)
    targets = normalize(torch.randn(1, count, size, generator=generator), dim=2).expand(2, -1, -1)
    batch = TrainingBatch(images, visible, labels, torch.arange(count), mirrored=torch.zeros(count, dtype=torch.int64))
    return batch, KnownTargets(targets, labels)


def measure(config: Config, rounds: int) -> dict[str, float]:
    """Return milliseconds of processor time per image by precision, medians over the rounds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    ways = {}
    for precision in ("fp32", "bf16"):
        chosen = replace(config, train=replace(config.train, precision=precision))  # type: ignore[arg-type]
        batch, targets = drawn(config, 128)
        way, stepper = our_step(chosen, PEOPLE, batch)
        stepper.module.targets = targets
        stepper.module.train()
        ways[precision] = way
    taken: dict[str, list[float]] = {precision: [] for precision in ways}
    for number in range(rounds + 2):
        for precision, way in ways.items():
            began = time.process_time()
            way()
            if number > 1:  # the first two compile and warm up
                taken[precision].append(time.process_time() - began)
    return {name: 1000 * statistics.median(seconds) / config.data.batch_size for name, seconds in taken.items()}


def main() -> None:
    """Print a line per precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="MobileFaceNet as ONNX file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    found = measure(load_config(RECIPE, ["--model.weights", str(arguments.weights)]), arguments.rounds)
    sheet = Sheet()
    for precision, milliseconds in found.items():
        sheet.say(f"a step of configs/adapt.yaml in {precision}", f"{milliseconds:.1f} ms per image")
    sheet.say("float32 / bfloat16", f"{found['fp32'] / found['bf16']:.2f}")
    sheet.save("benchmarks.adapting", sys.argv[1:], ["torch"], arguments.out)


if __name__ == "__main__":
    run(main)
