"""OAML's restoration beside deepinv's samplers and classical methods, on images that the prior did not learn from.

    python -m benchmarks.restoration_quality CHECKPOINT [--gaussian CHECKPOINT] [--images faces] [--side 64] [--tiles 4]
        [--out FILE.json] [oaml arguments, such as --data.source DIR --restoration.steps 6]

The middles of held-out faces, drawn ones (`--images drawn`), or tiles of photographs (`--images photographs`), are
measured in the light, in the dark and with their middle third covered. `--gaussian` adds a prior of
`--restoration.method gaussian` whose tiles are of `--side` pixels. All methods have the same measurements; all samplers
have the same prior and about the same number of passes through its network, forward and backward, as OAML takes for one
sample. LPIPS is not among the figures: no package brings its weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.figures import measured as figures_of
from benchmarks.figures import table, write
from benchmarks.restoration_classical import METHODS, restored
from benchmarks.restoration_scenes import drawn_tiles, middle, photograph_tiles
from benchmarks.told import run
from oaml_core.config import RestorationConfig
from oaml_core.restoration.evaluate import CAMERAS, COVERED, hidden_middle
from oaml_core.restoration.measurement import Identity, Measurement, measure
from oaml_core.restoration.metrics import chi_square, coverage, psnr, ssim
from oaml_core.restoration.prior import load_prior
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.restore import posterior_mean, restore
from oaml_core.settings import load_config
from oaml_core.stages.restore_stage import held_out_tiles, prepare_tiles

COLUMNS = (
    "measured",
    "method",
    "passes per sample",
    "s per tile and sample",
    "PSNR, dB",
    "SSIM",
    "PSNR of one sample, dB",
    "χ² of one sample",
    "coverage of 90 %",
    "PSNR where visible, dB",
    "PSNR where covered, dB",
    "coverage where covered",
    "deviation / error where covered",
)
"""Columns of the table. Methods without samples have the χ² of their answer."""
COMPARED_WITH = ("deepinv", "bm3d")
"""Packages of the extra `bench`."""
T = TypeVar("T")
LIBRARIES = ("torch", "deepinv", "bm3d", "scikit-image", "scipy")


@dataclass(frozen=True)
class MethodAnswer:
    """The answer of one method to the measured tiles."""

    answer: Tensor
    """[B, C, H, W]."""
    samples: Tensor | None
    """[n, B, C, H, W]; None: the method draws none."""
    passes: int | None
    """Through the network, per sample."""
    seconds: float
    """Processor time per tile and sample."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--gaussian", type=Path, help="checkpoint of a Gaussian prior of tiles of this side")
    parser.add_argument("--images", choices=("faces", "drawn", "photographs"), default="faces")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--tiles", type=int, default=4)
    parser.add_argument("--out", type=Path, help="benchmarks/figures/NAME.json of a table of RESULTS.md")
    parser.add_argument("--said", help="command that the table names; default: this one")
    options, rest = parser.parse_known_args()
    if missing := [name for name in COMPARED_WITH if find_spec(name) is None]:
        parser.error(
            f"{' and '.join(missing)} missing. Install the extra bench: pip install -c constraints.txt '.[bench]'"
        )
    torch.set_num_threads(1)
    config = load_config("configs/restore_faces.yaml", [*rest, "--restoration.test_tiles", str(options.tiles)])
    if options.images == "photographs":
        tiles = photograph_tiles(options.tiles, options.side)
    elif options.images == "drawn":
        tiles = drawn_tiles(options.tiles, options.side)
    else:
        tiles = middle(held_out_tiles(config, prepare_tiles(config)), options.side)
    prior = load_prior(options.checkpoint).prior
    gaussian = None if options.gaussian is None else load_prior(options.gaussian).prior
    rows = []
    for condition, measurement in conditions(tiles):
        for method, found in compared(prior, measurement, config.restoration, gaussian):
            rows.append(row(condition, method, found, measurement, tiles))
            print(*(f"{cell:.3g}" if isinstance(cell, float) else cell for cell in rows[-1]), sep=" | ", flush=True)
    made = figures_of(options.said or command(options, rest), COLUMNS, rows, LIBRARIES)
    if options.out is None:
        print(table(made))
    else:
        write(made, options.out)


def command(options: argparse.Namespace, rest: list[str]) -> str:
    """Return the command, without the machine's own paths."""
    given = f"--images {options.images} --side {options.side} --tiles {options.tiles}"
    other = [] if options.gaussian is None else ["--gaussian GAUSSIAN"]
    return " ".join(["python -m benchmarks.restoration_quality CHECKPOINT", *other, given, *rest])


def conditions(tiles: Tensor) -> Iterator[tuple[str, Measurement]]:
    """Yield measurements of the tiles by name."""
    for number, (name, camera) in enumerate((("light", "light"), ("dark", "dark"), (COVERED, "light"))):
        seen = hidden_middle(tiles) if name == COVERED else None
        yield name, measure(tiles, Identity(), CAMERAS[camera], generator_of("measured", number), seen)


def compared(
    prior: torch.nn.Module,
    measurement: Measurement,
    config: RestorationConfig,
    gaussian: torch.nn.Module | None = None,
) -> Iterator[tuple[str, MethodAnswer]]:
    """Yield what every method makes of the measurement.

    Args:
        prior: D(x; σ).
        measurement: of tiles.
        config: of OAML's sampling; its passes are the measure of the others.
        gaussian: a Gaussian prior; None: it is left out.
    """
    from benchmarks.restoration_samplers import PLUG_AND_PLAY, SAMPLERS, CountedPrior

    yield "as measured", MethodAnswer(measurement.observed, None, None, 0.0)
    for name, denoised in METHODS.items():
        answer, seconds = timed(lambda chosen=denoised: restored(measurement, chosen))
        yield name, MethodAnswer(answer, None, None, seconds / len(answer))
    counted = CountedPrior(prior)
    shape, count = tuple(measurement.observed.shape), config.samples
    (answer, _, samples), seconds = timed(lambda: restore(counted, measurement, shape[1:], config))
    whole = counted.passes
    counted.passes = 0
    mean, of_mean = timed(lambda: posterior_mean(counted, measurement, shape[1:], config))
    alone = measurement.visibility is None
    passes = (whole - counted.passes) // count if alone else whole // count
    yield "OAML", MethodAnswer(answer, samples, passes, (seconds - of_mean if alone else seconds) / shape[0] / count)
    if alone:
        yield "OAML, mean alone", MethodAnswer(mean, None, counted.passes, of_mean / shape[0])
    if gaussian is not None:
        (answer, _, samples), seconds = timed(lambda: restore(gaussian, measurement, shape[1:], config))
        yield "OAML, Gaussian prior", MethodAnswer(answer, samples, None, seconds / shape[0] / count)
    for name, sampler in SAMPLERS.items():
        counted.passes = 0
        drawn, seconds = timed(
            lambda chosen=sampler: torch.stack([chosen(counted, measurement, passes, i) for i in range(count)])
        )
        used = counted.passes // count
        yield f"deepinv: {name}", MethodAnswer(drawn.mean(0), drawn, used, seconds / shape[0] / count)
    for name, method in PLUG_AND_PLAY.items():
        counted.passes = 0
        answer, seconds = timed(lambda chosen=method: chosen(counted, measurement, passes, 0))
        yield f"deepinv: {name}", MethodAnswer(answer, None, counted.passes, seconds / shape[0])


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """Return a function's result and its processor time in seconds."""
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def row(
    condition: str, method: str, found: MethodAnswer, measurement: Measurement, truth: Tensor
) -> list[str | int | float | None]:
    """Return a row of the table: means over the tiles."""
    samples = found.samples
    one = found.answer if samples is None else samples[0]
    return [
        condition,
        method,
        found.passes,
        found.seconds,
        float(psnr(found.answer, truth).mean()),
        float(ssim(found.answer, truth).mean()),
        None if samples is None else float(psnr(samples[0], truth).mean()),
        float(chi_square(measurement, one).mean()),
        None if samples is None or len(samples) < 2 else float(coverage(samples, truth).mean()),
        *_covered_part(found, measurement, truth),
    ]


def _covered_part(found: MethodAnswer, measurement: Measurement, truth: Tensor) -> list[float | None]:
    """Return the last columns: of all visible and of all covered values."""
    if measurement.visibility is None:
        return [None] * 4
    hidden = (measurement.visibility == 0).expand_as(truth)
    parts = [float(psnr(found.answer[some][None], truth[some][None])) for some in (~hidden, hidden)]
    if found.samples is None or len(found.samples) < 2:
        return [*parts, None, None]
    samples, wanted = found.samples[:, hidden][:, None], truth[hidden][None]
    error = (found.answer[hidden] - wanted).square().mean().sqrt()
    return [*parts, float(coverage(samples, wanted)), float(samples.var(0).mean().sqrt() / error)]


if __name__ == "__main__":
    run(main)
