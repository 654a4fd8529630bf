"""Local matching, side by side with the published formula written plainly: pairs per second, extra memory.

    python -m benchmarks.matching [match] [pairs] [train] [evaluate] [--channels 512 --side 7 --threads 2]

`gemm` is the matrix product of the same correlations in fp32 and nothing else, measured in the same rounds: what a
matcher that spends no time on anything but correlations would reach with fp32 factors. `bound` is that product in
blocks that stay in the processor's caches, and torch's largest value over either axis of each: what remains when
lengths, visibility and scores cost nothing. With `--out` the figures are written for a table of RESULTS.md.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.figures import Cell, command, measured, write
from benchmarks.told import run
from oaml_core.models.correlation import CPU_BLOCK_BYTES, BlockSize, slices
from oaml_core.models.pair_cosines import MAPS_AT_ONCE
from oaml_core.models.qaconv import QAConv
from oaml_core.peak_memory import peak_mib

ROUNDS = 7
COLUMNS = ["what", "by", "pairs/s", "× gemm", "× plain", "MiB beyond the inputs"]


class PlainQAConv(nn.Module):
    """The published formula, all correlations of a call at once."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.bn, self.fc, self.logit_bn = nn.BatchNorm1d(1), nn.Linear(places, 1), nn.BatchNorm1d(1)

    def match(self, probe: Tensor, gallery: Tensor) -> Tensor:
        probe, gallery = (functional.normalize(maps.flatten(2), dim=1) for maps in (probe, gallery))
        correlation = torch.einsum("gcr,pcs->pgrs", gallery, probe)
        return self._score(correlation).view(len(probe), len(gallery))

    def match_pairs(self, probe: Tensor, gallery: Tensor) -> Tensor:
        probe, gallery = (functional.normalize(maps.flatten(2), dim=1) for maps in (probe, gallery))
        return self._score(torch.einsum("ncr,ncs->nrs", gallery, probe)).flatten()

    def _score(self, correlation: Tensor) -> Tensor:
        best = torch.cat([correlation.max(-2).values, correlation.max(-1).values], -1)
        best = best.view(-1, 1, self.fc.in_features)
        best = self.fc(self.bn(best).view(-1, self.fc.in_features))
        return self.logit_bn(best.view(-1, 2).sum(-1, keepdim=True))


def drawn(count: int, options: argparse.Namespace, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, options.channels, options.side, options.side, generator=generator)


def visible(count: int, options: argparse.Namespace, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, options.side, options.side, generator=torch.Generator().manual_seed(seed))


def ours(options: argparse.Namespace, product: str = "fp32") -> QAConv:
    return QAConv(options.channels, (options.side, options.side), product="bf16" if product == "bf16" else "fp32")


def clock() -> float:
    """Seconds; of the processor with one thread, so that it does not matter what else the machine does."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def medians(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns so that what else the machine does meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, way in runs.items():
            start = clock()
            way()
            if number:  # the first round warms up
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def rows_of(title: str, pairs: int, seconds: dict[str, float], memory: dict[str, float]) -> list[list[Cell]]:
    """Return and print the rows of a case, one per way; its memory by way is in MiB."""
    found: list[list[Cell]] = []
    for name, value in seconds.items():
        plain = seconds["plain"] / value if "plain" in seconds else None
        found.append([title, name, round(pairs / value), seconds["gemm"] / value, plain, memory.get(name)])
        print(*found[-1], sep=" | ", flush=True)
    return found


def peak_memory(kind: str, options: argparse.Namespace) -> float:
    """MiB above the inputs, in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (kind, options))


def _peak_memory(kind: str, options: argparse.Namespace) -> float:
    torch.set_num_threads(options.threads)
    # Large blocks go back to the system when they are freed (M_MMAP_THRESHOLD): the peak is what is alive.
    ctypes.CDLL(None).mallopt(-3, 2**20)
    warm, run = prepared(kind, options)
    warm()
    used = peak_mib(run)
    assert used is not None, "memory can only be measured on Linux"
    return used


def prepared(kind: str, options: argparse.Namespace) -> tuple[Callable[[], object], Callable[[], object]]:
    """A small call that loads what the first call loads, and the call to be measured."""
    what, who, count = kind.split("-")
    model = PlainQAConv(options.side**2) if who == "plain" else ours(options, who)
    probe, gallery = drawn(int(count), options, 0), drawn(int(count), options, 1)
    if what == "train":
        model.train()
        small, full = probe[:4].clone().requires_grad_(), probe.requires_grad_()
        return lambda: step(model, small), lambda: step(model, full)
    model.eval()
    call = model.match if what == "match" else model.match_pairs
    return (lambda: without_gradient(call, probe[:2], gallery[:2])), (lambda: without_gradient(call, probe, gallery))


def without_gradient(call: Callable[..., Any], *inputs: Tensor) -> Any:
    with torch.inference_mode():
        return call(*inputs)


def step(model: nn.Module, maps: Tensor, visibility: Tensor | None = None) -> None:
    """Forward and backward of a batch matched with itself."""
    maps.grad = None
    scores = model.match(maps, maps) if visibility is None else model.match(maps, maps, visibility, visibility)  # type: ignore[operator]
    scores.square().mean().backward()


def gemm(probes: int, maps: int, options: argparse.Namespace) -> Callable[[], Tensor]:
    left = torch.randn(probes * options.side**2, options.channels)
    right = torch.randn(options.channels, maps * options.side**2)
    out = torch.empty(len(left), right.shape[1])
    return lambda: torch.mm(left, right, out=out)


def bound(probes: int, maps: int, options: argparse.Namespace, product: str) -> Callable[[], None]:
    """Correlate each probe with each map by `match`'s blocks, and look for the largest values of both directions."""
    places, kind = options.side**2, torch.bfloat16 if product == "bf16" else torch.float32
    block = BlockSize.within(CPU_BLOCK_BYTES, maps, places**2 * 4)
    left = torch.randn(probes, places, options.channels).to(kind)
    right = torch.randn(places, maps, options.channels).to(kind)

    def run() -> None:
        for some in slices(maps, block.maps):
            theirs = right[:, some].flatten(0, 1)
            for rows in slices(probes, block.probes):
                c = torch.mm(left[rows].flatten(0, 1), theirs.T).float()
                c = c.view(-1, places, places, len(theirs) // places)
                c.amax(2), c.amax(1)

    return lambda: without_gradient(run)


def bound_of_pairs(count: int, options: argparse.Namespace, product: str) -> Callable[[], None]:
    """Correlate map n with map n, `MAPS_AT_ONCE` at a time, and look for the largest values of both directions."""
    places, kind = options.side**2, torch.bfloat16 if product == "bf16" else torch.float32
    left, right = (torch.randn(count, options.channels, places).to(kind) for _ in range(2))

    def run() -> None:
        for some in slices(count, MAPS_AT_ONCE):
            c = torch.bmm(left[some].transpose(1, 2), right[some]).float()
            c.amax(2), c.amax(1)

    return lambda: without_gradient(run)


def bench_match(options: argparse.Namespace) -> list[list[Cell]]:
    found = []
    for count in options.sizes:
        ways = [name for name in ("plain", *options.products) if name != "plain" or count <= 256]
        memory = {name: peak_memory(f"match-{name}-{count}", options) for name in ways}
        found += match_rows(count, count, options, memory)
    return found + match_rows(1, 512, options, {})


def match_rows(probes: int, maps: int, options: argparse.Namespace, memory: dict[str, float]) -> list[list[Cell]]:
    """Return the rows of so many probes with so many gallery maps."""
    plain = PlainQAConv(options.side**2).eval()
    probe, gallery = drawn(probes, options, 0), drawn(maps, options, 1)
    v, u = visible(probes, options, 2), visible(maps, options, 3)
    # Larger products than 256 × 256 do not fit the memory at once: as many of them.
    tiles = max(1, probes * maps // 256**2)
    once = gemm(min(probes, 256), maps if tiles == 1 else 256, options)
    runs: dict[str, Callable[[], object]] = {"gemm": lambda: [once() for _ in range(tiles)]}
    if tiles == 1:  # beyond, it takes as long as so many of them
        runs["plain"] = lambda: without_gradient(plain.match, probe, gallery)
    for product in options.products:
        model = ours(options, product).eval()
        runs[f"{product}, bound"] = bound(probes, maps, options, product)
        runs[product] = lambda m=model: without_gradient(m.match, probe, gallery)
        runs[f"{product}, weighted"] = lambda m=model: without_gradient(m.match, probe, gallery, v, u)
    return rows_of(f"`match` {probes:,} × {maps:,}", probes * maps, medians(runs, options.rounds), memory)


def bench_pairs(options: argparse.Namespace) -> list[list[Cell]]:
    count = 1024
    probe, gallery, v, u = (make(count, options, seed) for seed, make in enumerate((drawn, drawn, visible, visible)))
    plain = PlainQAConv(options.side**2).eval()
    runs: dict[str, Callable[[], object]] = {
        "gemm": gemm(32, 32, options),  # 32 × 32 = 1,024 pairs
        "plain": lambda: without_gradient(plain.match_pairs, probe, gallery),
    }
    for product in options.products:
        model = ours(options, product).eval()
        runs[f"{product}, bound"] = bound_of_pairs(count, options, product)
        runs[product] = lambda m=model: without_gradient(m.match_pairs, probe, gallery)
        runs[f"{product}, weighted"] = lambda m=model: without_gradient(m.match_pairs, probe, gallery, v, u)
    memory = {name: peak_memory(f"pairs-{name}-{count}", options) for name in ("plain", *options.products)}
    return rows_of(f"`match_pairs` {count:,}", count, medians(runs, options.rounds), memory)


def bench_train(options: argparse.Namespace) -> list[list[Cell]]:
    count = options.batch
    maps, visibility = drawn(count, options).requires_grad_(), visible(count, options)
    plain = PlainQAConv(options.side**2).train()
    once = gemm(count, count, options)
    runs: dict[str, Callable[[], object]] = {
        # One product forward, two backward: the least that dense products allow.
        "gemm": lambda: [once() for _ in range(3)],
        "plain": lambda: step(plain, maps),
    }
    for product in options.products:
        model = ours(options, product).train()
        runs[product] = lambda m=model: step(m, maps)
        runs[f"{product}, weighted"] = lambda m=model: step(m, maps, visibility)
    memory = {name: peak_memory(f"train-{name}-{count}", options) for name in ("plain", *options.products)}
    return rows_of(f"training step, batch {count}", count**2, medians(runs, options.rounds), memory)


def bench_evaluate(options: argparse.Namespace) -> list[list[Cell]]:
    return [
        ["`match` 4,096 × 4,096", who, None, None, None, peak_memory(f"match-{who}-4096", options)]
        for who in options.products
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["match", "pairs", "train"])
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--side", type=int, default=7)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--products", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    benches = {"match": bench_match, "pairs": bench_pairs, "train": bench_train, "evaluate": bench_evaluate}
    table = [row for name in arguments.what for row in benches[name](arguments)]
    if arguments.out:
        write(measured(command("benchmarks.matching", sys.argv[1:]), COLUMNS, table, ["torch"]), arguments.out)


if __name__ == "__main__":
    run(main)
