"""Pictures of docs/restoration.md: measured, restored, uncertainty and truth of images that may be shared.

    python -m benchmarks.restoration_pictures CHECKPOINT [--out docs] [oaml arguments]

A Gaussian prior draws the covered faces, which are what it is for; a network draws noise, low light and photographs.

Faces are drawn by `oaml_core.data.sources.synthetic_faces`, photographs are those of `benchmarks.restoration_scenes`,
all in the public domain. One PNG per kind: noise, a covered face, low light, photographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmarks.restoration_scenes import drawn_tiles, photograph_tiles
from benchmarks.told import run
from oaml_core.config import RestorationConfig
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.evaluate import CAMERAS, hidden_middle
from oaml_core.restoration.face_tiles import to_image
from oaml_core.restoration.measurement import Identity, Noise, measure
from oaml_core.restoration.prior import load_prior
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.report_pictures import uncertainty_tile
from oaml_core.restoration.restore import restore
from oaml_core.settings import load_config

TILES = 2
"""Rows of each picture."""
SCALE, GAP = 2, 6
"""Pixels of the picture per pixel of a tile, and between tiles."""
WHITE_NOISE = Noise(0.0, 0.1**2)
"""A tenth of the range from black to white, everywhere alike."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--side", type=int, default=64, help="pixels of a tile; a Gaussian prior has its own")
    options, rest = parser.parse_known_args()
    config = load_config("configs/restore_faces.yaml", rest)
    trained = load_prior(options.checkpoint)
    faces = drawn_tiles(TILES, trained.side or options.side)
    options.out.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, tuple[Tensor, Noise, Tensor | None]] = {"covered": (faces, CAMERAS["light"], hidden_middle(faces))}
    if trained.side is None:
        photographs = photograph_tiles(TILES, options.side)
        kinds = {
            "noise": (faces, WHITE_NOISE, None),
            "low-light": (faces, CAMERAS["dark"], None),
            "photographs": (photographs, CAMERAS["dark"], None),
        }
    for name, (tiles, noise, seen) in kinds.items():
        path = options.out / f"restoration-{name}.png"
        Image.fromarray(to_image(sheet(trained.prior, tiles, noise, seen, config.restoration))).save(
            path, optimize=True
        )
        print(path, flush=True)


def sheet(prior: Denoiser, tiles: Tensor, noise: Noise, seen: Tensor | None, config: RestorationConfig) -> Tensor:
    """Return one picture [3, H, W] in [-1, 1]: a row per tile: measured, restored, uncertainty, truth.

    Args:
        prior: D(x; σ).
        tiles: clean tiles [N, 3, H, W] in [-1, 1].
        noise: of the measurement.
        seen: visibility [N, 1, H, W]; None: all.
        config: of the sampling.
    """
    measured = measure(tiles, Identity(), noise, generator_of("measured", 0), seen)
    mean, deviation, _ = restore(prior, measured, tuple(tiles.shape[1:]), config)
    uncertainty = torch.stack([uncertainty_tile(one) for one in deviation])
    columns = (measured.observed, mean, uncertainty, tiles)
    wide = [functional.pad(functional.interpolate(x, scale_factor=SCALE), (0, GAP, 0, GAP), value=1.0) for x in columns]
    rows = torch.cat(wide, 3)
    return torch.cat(list(rows), 1)[:, :-GAP, :-GAP]


if __name__ == "__main__":
    run(main)
