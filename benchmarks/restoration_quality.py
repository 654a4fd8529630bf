"""Posterior mean and samples beside non-local means, on faces that the prior did not learn from.

    python benchmarks/restoration_quality.py CHECKPOINT [--side 64] [--tiles 4]
        [oaml arguments, such as --data.source DIR --restoration.steps 6]

The middles of the faces, `side` pixels wide and high, are measured at three exposures and with their
middle third covered.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from oaml_core.restoration.classical import non_local_means
from oaml_core.restoration.evaluate import RESTORED, evaluate_tiles
from oaml_core.restoration.measurement import Identity, Noise, measure
from oaml_core.restoration.metrics import psnr
from oaml_core.restoration.prior import load_prior
from oaml_core.settings import load_config
from oaml_core.stages.restore_stage import held_out_tiles, prepare_tiles

LEVELS = (0.04, 0.1, 0.2, 0.4)
"""Deviations of white noise, in units of tiles (white − black = 2), at which the bare denoiser is looked at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--tiles", type=int, default=4)
    options, rest = parser.parse_known_args()
    trained = load_prior(options.checkpoint)
    config = load_config("configs/restore_faces.yaml", [*rest, "--restoration.test_tiles", str(options.tiles)])
    tiles = held_out_tiles(config, prepare_tiles(config))
    top, left = ((size - options.side) // 2 for size in tiles.shape[2:])
    tiles = tiles[..., top : top + options.side, left : left + options.side]
    print("white noise      measured  non-local means  D(y; σ)     PSNR in dB")
    for level in LEVELS:
        noise = Noise(0.0, (level / 2) ** 2)
        observed = measure(tiles, Identity(), noise, torch.Generator().manual_seed(0)).observed
        with torch.no_grad():
            estimate = trained.prior(observed, torch.full((len(tiles),), level))
        found = (observed, non_local_means(observed, noise), estimate)
        print(f"{level:<14}", *(f"{float(psnr(one, tiles).mean()):10.2f}" for one in found), flush=True)
    began = time.process_time()
    evaluated = evaluate_tiles(trained.prior, tiles, config.restoration)
    print(f"\n{time.process_time() - began:.0f} s of processor time")
    for row in evaluated.rows:
        said = (row.chi_square, "χ²"), (row.coverage if row.method == RESTORED else None, "coverage")
        more = "  ".join(f"{name} {value:.2f}" for value, name in said if value is not None)
        print(f"{row.condition:8} {row.method:16} {row.psnr:6.2f} dB  SSIM {row.ssim:.3f}  {more}", flush=True)


if __name__ == "__main__":
    main()
