"""Estimate the needs of a prior's recipe on one GPU: arithmetic and memory are counted, time is estimated, without one.

    python -m benchmarks.restoration_estimate [--recipe configs/restore_photographs.yaml] [--teraflops 100]

Network, loss and gradients run on torch's device `meta`, which keeps shapes and no values: so multiplications and the
tensors that are kept for the gradients are those of the whole tile size. At two smaller sizes the same training step
runs on this machine's processor: what it keeps has to be what was counted there. Time is arithmetic divided by
`--teraflops`, which is an assumption: a third of the peak of an A100 in bfloat16 by default.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.told import run
from oaml_core.config.restoration import RestorationConfig
from oaml_core.restoration.edm import edm_loss
from oaml_core.restoration.prior import Prior, parameter_count
from oaml_core.settings import load_config

PER_PARAMETER = 20
"""Bytes: weight, gradient, two moments of Adam and moving average, float32 each."""
CHECKED_SIDES = (16, 32)
"""Sizes at which what is kept is measured on the processor."""


@dataclass(frozen=True)
class StepCost:
    """One training step."""

    flops: float
    """Multiplications and additions, forward and backward, per tile."""
    kept: float
    """Bytes kept for the gradients per tile, float32."""
    parameters: int


def step(config: RestorationConfig, device: str) -> StepCost:
    """Return what a tile costs in a training step: the difference between a step of two tiles and one of a single tile.

    Args:
        config: of the network and the tile size.
        device: `meta`, or one that computes.
    """
    prior = Prior(config, label_dim=0).to(device)
    (flops, kept), (flops_of_two, kept_of_two) = (_costs(prior, config.tile_size, tiles) for tiles in (1, 2))
    return StepCost(flops_of_two - flops, kept_of_two - kept, parameter_count(prior))


def _costs(prior: Prior, side: int, tiles: int) -> tuple[float, float]:
    """Return arithmetic and bytes kept of one training step; a constant part of the bytes belongs to the weights."""
    device = next(prior.parameters()).device
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[id(tensor) if device.type == "meta" else tensor.data_ptr()] = tensor
        return tensor

    blank = torch.zeros(tiles, 3, side, side, device=device)
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = edm_loss(prior, blank, blank, torch.ones(tiles, device=device)).mean()
        loss.backward()
    return counter.get_total_flops(), sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="configs/restore_photographs.yaml")
    parser.add_argument("--teraflops", type=float, default=100.0)
    options = parser.parse_args()
    config = load_config(options.recipe).restoration
    for side in CHECKED_SIDES:
        small = replace(config, tile_size=side)
        counted, measured = step(small, "meta"), step(small, "cpu")
        shares = f"{counted.kept / 2**20:.1f} MiB per tile counted, {measured.kept / 2**20:.1f} measured"
        print(f"{side} × {side}: kept {shares}")
    whole = step(config, "meta")
    at_a_time = config.batch_gpu or config.batch
    fixed = PER_PARAMETER * whole.parameters
    memory = fixed + at_a_time * whole.kept / 2
    rate = options.teraflops * 1e12 / whole.flops
    print(
        f"{config.tile_size} × {config.tile_size}: {whole.parameters / 1e6:.1f} M parameters, "
        f"{whole.flops / 1e12:.2f} TFLOP and {whole.kept / 2**30:.2f} GiB (float32) per tile and step\n"
        f"memory: {fixed / 2**30:.1f} GiB for weights, {memory / 2**30:.1f} GiB with {at_a_time} tiles at a time in "
        f"bfloat16\ntime at {options.teraflops:g} TFLOP/s: {rate:.0f} tiles/s, "
        f"{config.total_kimg * 1000 / rate / 3600:.0f} h for {config.total_kimg:g} thousand tiles"
    )


if __name__ == "__main__":
    run(main)
