"""Speed of the prior: training images per second and sampling steps per second, beside the bare network.

    python -m benchmarks.restoration [--recipe configs/restore_faces.yaml] [--threads 2] [--covered]

With a GPU also: the configurations for tiles of 64 and 256 pixels, in bf16. `--covered`: instead, seconds per posterior
sample of 64 covered faces of 64 × 64, by the recipe's network and by a Gaussian prior.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.told import run
from oaml_core.config.restoration import RestorationConfig
from oaml_core.restoration.edm import edm_loss, training_noise_levels
from oaml_core.restoration.evaluate import CAMERAS, hidden_middle
from oaml_core.restoration.gaussian_prior import GaussianPrior
from oaml_core.restoration.gaussian_training import RANK
from oaml_core.restoration.measurement import Identity, Noise, measure
from oaml_core.restoration.posterior import Posterior
from oaml_core.restoration.prior import Prior, parameter_count
from oaml_core.restoration.restore import BATCH, restore
from oaml_core.restoration.sampler import heun_sample, noise_levels
from oaml_core.settings import load_config

ROUNDS = 3
FACES, SIDE, FURTHER = 64, 64, 4
"""Covered faces, their side in pixels, and samples of them after the first."""
GPU_SIZES = {
    64: replace(RestorationConfig(), tile_size=64),
    256: replace(
        RestorationConfig(), tile_size=256, channel_mult=(1, 1, 2, 2, 2, 2), num_blocks=2, attention_levels=(4,)
    ),
}
"""Configurations by side in pixels: the prior of tiles of 64 pixels is the default one."""


def seconds(run: Callable[[], object], device: str) -> float:
    """Median of several runs after one that warms up; processor time where there is one thread."""
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for number in range(ROUNDS + 1):
        _wait(device)
        began = clock()
        run()
        _wait(device)
        if number:
            times.append(clock() - began)
    return statistics.median(times)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def bench(config: RestorationConfig, batch: int, device: str) -> None:
    """Print the figures of one configuration."""
    prior = Prior(config, label_dim=0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    side, generator = config.tile_size, torch.Generator().manual_seed(0)
    tiles = (torch.rand((batch, 3, side, side), generator=generator) * 2 - 1).to(device)
    noise = torch.randn(tiles.shape, generator=generator).to(device)
    sigma = training_noise_levels(torch.randn(batch, generator=generator)).to(device)
    print(f"\n{side} × {side}, batch {batch}, {parameter_count(prior) / 1e6:.2f} M parameters, {device}")

    def autocast() -> torch.autocast:
        return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def network() -> None:
        with autocast():
            prior.network(tiles, sigma).float().square().mean().backward()
        prior.zero_grad()

    def training() -> None:
        with autocast():
            edm_loss(prior, tiles, noise, sigma).mean().backward()
        prior.zero_grad()

    bare, whole = seconds(network, device), seconds(training, device)
    print(f"  training      {batch / whole:10,.1f} images/s, {bare / whole:.2f} × the bare network's rate")
    levels = noise_levels(6)
    measured = measure(tiles.cpu(), Identity(), Noise(0.01, 0.001), generator).to(device)
    posterior = Posterior(prior, measured)
    methods: dict[str, Callable[[], Tensor]] = {
        "prior": lambda: heun_sample(prior, noise, levels),
        "posterior": lambda: posterior.sample(tuple(tiles.shape), levels, torch.Generator().manual_seed(0)),
    }
    prior.eval().requires_grad_(False)
    for name, sample in methods.items():

        def run(sample: Callable[[], Tensor] = sample) -> None:
            with autocast(), torch.no_grad():
                sample()

        taken = seconds(run, device)
        print(f"  {name:12}  {batch * (len(levels) - 1) / taken:10,.1f} tile-steps/s")
    if device == "cuda":
        print(f"  peak memory   {torch.cuda.max_memory_allocated() / 2**30:10,.1f} GiB")


def covered_faces(config: RestorationConfig) -> None:
    """Print seconds per sample of covered faces; the network's are those of one evaluation times their number."""
    generator = torch.Generator().manual_seed(0)
    tiles = torch.rand((FACES, 3, SIDE, SIDE), generator=generator) * 2 - 1
    measured = measure(tiles, Identity(), CAMERAS["light"], generator, hidden_middle(tiles))
    prior = Prior(config, label_dim=0).eval().requires_grad_(False)
    posterior, x = Posterior(prior, measured.part(slice(0, BATCH))), tiles[:BATCH]
    forward, whole = (
        seconds(lambda run=run: run(x, torch.ones(BATCH)), "cpu") * FACES / BATCH for run in (prior, posterior.denoise)
    )
    evaluations = 2 * config.steps - 1
    print(f"network: forward pass {forward:.2f} s, evaluation given the measurement {whole:.2f} s")
    print(f"         {config.steps} levels, {evaluations} evaluations: {evaluations * whole:.0f} s per sample")
    shape = tiles[0].shape
    components = 0.05 * torch.randn((shape.numel(), RANK), generator=generator)
    gaussian = GaussianPrior(torch.zeros(shape), components, torch.full(shape, 0.01))
    first, more = (
        seconds(lambda n=n: restore(gaussian, measured, tuple(shape), replace(config, samples=n)), "cpu")
        for n in (1, 1 + FURTHER)
    )
    further = (more - first) / FURTHER
    print(f"Gaussian prior of {RANK} components: first sample {first:.2f} s, each further {further:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="configs/restore_faces.yaml")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--covered", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    recipe = load_config(options.recipe).restoration
    if options.covered:
        covered_faces(recipe)
        return
    bench(recipe, options.batch, "cpu")
    if torch.cuda.is_available():
        for config in GPU_SIZES.values():
            bench(config, 64 if config.tile_size == 64 else 16, "cuda")


if __name__ == "__main__":
    run(main)
