"""What many identities cost a training step: all classes on one worker, beside a sample of them.

    python -m benchmarks.classifier --identities 90000 --sample-rates 1 0.1

Each is measured in a process of its own, forward, backward and a step of the optimiser on random embeddings. Memory is
the peak beyond what the process has before the classifier is made: resident memory, or a GPU's allocations where there
is one. Time is processor time without a GPU, the better of the steps after the first.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.figures import Sheet
from benchmarks.told import run
from oaml_core.config import ModelConfig
from oaml_core.models.build import build_classifier
from oaml_core.training.row_sgd import RowSGD

SIZE = 512
GB = 1e9
STEPS = 3


def measure(identities: int, rate: float, batch: int) -> dict[str, float]:
    """Peak memory in GB and seconds per step, in this process."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    generator = torch.Generator().manual_seed(0)
    torch.randn(1024, SIZE) @ torch.randn(SIZE, 1024)  # the library's own buffers
    before = _peak(cuda)
    config = ModelConfig(m=0.4, h=0.333, sample_rate=rate)
    classifier = build_classifier(config, SIZE, identities, seed=0).to(device)
    optimiser = RowSGD(classifier.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    seconds = []
    for _ in range(STEPS):
        embedding = functional.normalize(torch.randn(batch, SIZE, generator=generator)).to(device).requires_grad_()
        label = torch.randint(0, identities, (batch,), generator=generator).to(device)
        began = _now(cuda)
        classifier.loss(embedding, torch.full((batch, 1), 20.0, device=device), label).loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(_now(cuda) - began)
    return {"memory": (_peak(cuda) - before) / GB, "seconds": min(seconds[1:])}


def _peak(cuda: bool) -> float:
    return torch.cuda.max_memory_allocated() if cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _now(cuda: bool) -> float:
    if not cuda:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print a line for each sample rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=90_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--sample-rates", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.identities, arguments.sample_rates[0], arguments.batch)))
        return
    sheet = Sheet()
    for rate in arguments.sample_rates:
        numbers = ["--identities", str(arguments.identities), "--batch", str(arguments.batch)]
        command = [sys.executable, "-m", "benchmarks.classifier", "--alone", *numbers, "--sample-rates", str(rate)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        sheet.say(
            f"{arguments.identities:,} identities, batch {arguments.batch}, sample rate {rate:g}",
            f"{found['memory']:.2f} GB, {found['seconds']:.2f} s per step",
        )
    sheet.save("benchmarks.classifier", sys.argv[1:], ["torch"], arguments.out)


if __name__ == "__main__":
    run(main)
