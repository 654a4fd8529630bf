"""The figures of one GPU, as `benchmarks/gpu.json` and as a table.

    make gpu-figures                                        # the tests marked `gpu`, then these figures
    python -m benchmarks.gpu --out benchmarks/gpu.json      # the figures alone
    python -m benchmarks.gpu --tiny --out /tmp/gpu.json     # the same code on a CPU; its figures mean nothing

Every ratio is taken within one run, in rounds over all ways, from medians. Inputs are drawn on the device, so that
nothing but the checkout and its environment is needed. A part that fails is named in the file beside its error, and the
others are measured all the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.told import run
from benchmarks.training import bare_step, configuration, faces, our_step
from oaml_core.config import Config, LossConfig, RestorationConfig, TrainConfig
from oaml_core.models import correlation_fused
from oaml_core.models.correlation import correlation_maxima
from oaml_core.models.qaconv import QAConv
from oaml_core.restoration.prior import Prior
from oaml_core.restoration.prior_loss import PriorLoss
from oaml_core.restoration.sampler import heun_sample, noise_levels

ALONE = LossConfig(adaface_loss_weight=1.0, qaconv_loss_weight=0.0, visibility_loss_weight=0.0)
Figures = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """Device and type that the figures are measured on."""

    product: int
    """Side of the square matrices whose rate is the machine's."""
    archs: tuple[str, ...]
    batch: int
    classes: int
    matches: tuple[int, ...]
    """Maps on both sides of a score matrix."""
    eager_up_to: int
    """Maps on both sides up to which all correlations at once fit the memory."""
    channels: int
    rounds: int
    tile: int
    tiles: int


FULL = Sizes(8192, ("ir_50", "ir_101"), 256, 10_572, (256, 1024, 4096), 1024, 512, 7, 64, 64)
TINY = Sizes(64, ("ir_mini",), 4, 8, (2, 3), 3, 8, 2, 16, 2)


class Bench:
    """Times on one device.

    Args:
        device: `cuda` or `cpu`.
        sizes: what is measured on.
    """

    def __init__(self, device: str, sizes: Sizes) -> None:
        self.device, self.sizes = device, sizes

    def seconds(self, ways: dict[str, Callable[[], object]]) -> Figures:
        """Median seconds of each way, taken in turns after two rounds that warm up."""
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(self.sizes.rounds + 2):
            for name, way in ways.items():
                self.wait()
                start = time.perf_counter()
                way()
                self.wait()
                if number > 1:
                    taken[name].append(time.perf_counter() - start)
        return {name: statistics.median(each) for name, each in taken.items()}

    def peak_mib(self, way: Callable[[], object]) -> float:
        """MiB that a call needs beside what is there before; 0 on a CPU, which does not count them."""
        if self.device != "cuda":
            way()
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way()
        self.wait()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def drawn(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(*shape, device=self.device, dtype=dtype)


def machine(bench: Bench) -> Figures:
    """TFLOP/s of square matrix products: what any figure can reach."""
    n, found = bench.sizes.product, {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        a, b = bench.drawn(n, n, dtype=dtype), bench.drawn(n, n, dtype=dtype)
        found[f"{name} TFLOP/s"] = 2 * n**3 / bench.seconds({name: lambda a=a, b=b: a @ b})[name] / 1e12  # type: ignore[misc]
    return found


def training(bench: Bench, arch: str) -> Figures:
    """Images/s of a step beside AdaFace as it is published: fp16 autocast, NCHW, not compiled."""
    size, classes, cuda = bench.sizes.batch, bench.sizes.classes, bench.device == "cuda"
    batch = faces(size, classes)
    fast = TrainConfig(precision="bf16", channels_last=True)
    config = configuration(arch, size, ALONE, fast)
    ways: dict[str, Callable[[], object]] = {
        "published, fp16": bare_step(config, classes, batch, bench.device, fp16=cuda),
        "ours, AdaFace alone": our_step(config, classes, batch)[0],
        "ours, all losses": our_step(configuration(arch, size, LossConfig(), fast), classes, batch)[0],
    }
    seconds = bench.seconds(ways)
    found = {f"{name}, images/s": size / each for name, each in seconds.items()}
    found |= {f"{name}, × published": seconds["published, fp16"] / seconds[name] for name in list(ways)[1:]}
    return found | {f"{name}, MiB": bench.peak_mib(way) for name, way in ways.items()}


def matching(bench: Bench, count: int, product: str) -> Figures:
    """Seconds and memory of both directions' maxima with gradient: fused kernels, plain torch and its compiler."""
    channels, dtype = bench.sizes.channels, {"fp32": torch.float32, "bf16": torch.bfloat16}[product]
    rows = torch.nn.functional.normalize(bench.drawn(2, count, 49, channels), dim=-1)
    probe, gallery = (one.clone().requires_grad_() for one in rows)

    def ours() -> None:
        _differentiate(correlation_maxima(probe[None], gallery.transpose(0, 1)[None], product=dtype))

    def all_at_once(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c = torch.einsum("asc,krc->asrk", left.to(dtype), right.to(dtype)).float()
        return c.amax(2), c.amax(1)

    ways: dict[str, Callable[[], object]] = {"ours": ours}
    if count <= bench.sizes.eager_up_to:
        ways["eager"] = lambda: _differentiate(all_at_once(probe, gallery))
        if bench.device == "cuda":
            compiled = torch.compile(all_at_once)
            ways["torch.compile"] = lambda: _differentiate(compiled(probe, gallery))
    seconds = bench.seconds(ways)
    found = {f"{name}, s": each for name, each in seconds.items()}
    found |= {f"ours, × {name}": seconds[name] / seconds["ours"] for name in list(ways)[1:]}
    found["ours, TFLOP/s"] = 3 * 2 * (49 * count) ** 2 * channels / seconds["ours"] / 1e12
    found["fused"] = float(correlation_fused.serves(probe[None], gallery.transpose(0, 1)[None], count, dtype))
    return found | {f"{name}, MiB": bench.peak_mib(way) for name, way in ways.items()}


def scoring(bench: Bench, count: int) -> Figures:
    """Pairs/s of QAConv's evaluation, in bf16 products, with visibility."""
    matcher = QAConv(bench.sizes.channels, (7, 7), product="bf16").eval().to(bench.device)
    maps = bench.drawn(2, count, bench.sizes.channels, 7, 7)
    seen = torch.rand(2, count, 1, 7, 7, device=bench.device)
    with torch.no_grad():
        seconds = bench.seconds({"match": lambda: matcher.match(maps[0], maps[1], seen[0], seen[1])})
    return {"match, pairs/s": count**2 / seconds["match"]}


def restoration(bench: Bench) -> Figures:
    """Tiles/s of EDM's training step, and of 18 Heun steps."""
    small = {"model_channels": 16, "channel_mult": (1,), "num_blocks": 1, "attention_levels": ()}
    config = Config(restoration=RestorationConfig(**(small if bench.sizes is TINY else {})))
    prior = Prior(config.restoration, 0).to(bench.device)
    loss, tiles = PriorLoss(prior, config), bench.drawn(bench.sizes.tiles, 3, bench.sizes.tile, bench.sizes.tile)
    optimiser = torch.optim.Adam(prior.parameters())
    labels, seeds = tiles.new_zeros(len(tiles), 0), list(range(len(tiles)))

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(bench.device, torch.bfloat16):
            loss.training_step(tiles, labels, seeds).backward()
        optimiser.step()

    @torch.no_grad()
    def sample() -> None:
        with torch.autocast(bench.device, torch.bfloat16):
            heun_sample(prior, tiles, noise_levels(18))

    seconds = bench.seconds({"training": step, "sampling": sample})
    return {f"{name}, tiles/s": len(tiles) / each for name, each in seconds.items()}


def _differentiate(maxima: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.stack([one.square().sum() for one in maxima]).sum().backward()


def measure(bench: Bench) -> dict[str, Any]:
    """All figures by part; a part that fails has its error."""
    sizes = bench.sizes
    parts: dict[str, Callable[[], Figures]] = {"matrix products": lambda: machine(bench)}
    for count in sizes.matches:
        for product in ("fp32", "bf16"):
            name = f"maxima {count} × {count} × ({sizes.channels}, 49), {product}"
            parts[name] = lambda count=count, product=product: matching(bench, count, product)  # type: ignore[misc]
        parts[f"scores {count} × {count}"] = lambda count=count: scoring(bench, count)  # type: ignore[misc]
    for arch in sizes.archs:
        parts[f"training {arch}, batch {sizes.batch}"] = lambda arch=arch: training(bench, arch)  # type: ignore[misc]
    parts["restoration"] = lambda: restoration(bench)
    found: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            found[name] = part()
        except Exception as error:  # out of memory, a missing compiler: the other parts are worth having
            found[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps({name: found[name]}), flush=True)
        if bench.device == "cuda":
            torch.cuda.empty_cache()
    return found


def table(figures: dict[str, Any]) -> str:
    """Markdown: one row per figure."""
    rows = [
        f"| {part} | {name} | {value if isinstance(value, str) else f'{value:,.4g}'} |"
        for part, found in figures.items()
        for name, value in found.items()
    ]
    return "\n".join(["| what | figure | value |", "|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on a CPU if there is no GPU")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        raise SystemExit("No CUDA device is here. `--tiny` runs the same code on a CPU.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures = measure(Bench(device, TINY if options.tiny else FULL))
    card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    about = {"device": card, "torch": torch.__version__, "tiny": options.tiny}
    options.out.write_text(json.dumps({"about": about, "figures": figures}, indent=1, ensure_ascii=False) + "\n")
    print(table(figures))


if __name__ == "__main__":
    run(main)
