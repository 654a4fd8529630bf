"""Photographs → a folder of tiles with its metadata, fit for `restoration.tiles`."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from oaml_core.amounts import amount
from oaml_core.errors import ConfigError, DataError, ModelInputError
from oaml_core.evaluation.verdict.metrics_json import write_json
from oaml_core.folder_entries import shown
from oaml_core.progress import progress
from oaml_core.restoration.apply import pictures_at
from oaml_core.restoration.measurement import Noise
from oaml_core.restoration.noise_estimation import noise_of_image
from oaml_core.restoration.photographs import EXPOSURE, RAW_SUFFIXES, Photograph, read_photograph
from oaml_core.restoration.tile_check import LEAST_DEVIATION
from oaml_core.restoration.tiles import LONG_EXPOSURE, METADATA
from oaml_core.whole_file import check_results_folder, written_whole

log = logging.getLogger(__name__)

HELD_OUT = 0.1
"""Share of the scenes that goes to `validation`, and as many to `test`."""


@dataclass
class CutTiles:
    """Counts of the tiles that were written, and where their metadata lie."""

    metadata: Path
    counts: dict[str, int]
    """Tiles of each split."""
    clean: int
    undecided: int
    """Tiles of photographs whose exposure time nothing tells: training refuses them."""
    flat: int
    """Places without contrast, left out."""
    cameras: dict[str, dict[str, float]]
    """Photographs and noise of each camera and ISO number: variance = a·signal + b, black 0 and white 1."""
    set_aside: list[str] = field(default_factory=list)
    """Photographs that gave no tile, each with the reason."""

    def __str__(self) -> str:
        split = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        lines = [f"tiles: {split}; clean {self.clean}; left out without contrast {self.flat}"]
        lines += [
            f"{name or 'camera not known'}: {found['photographs']:.0f} photographs, noise variance "
            f"{found['a']:.3g}·signal + {found['b']:.3g}"
            for name, found in self.cameras.items()
        ]
        lines += [f"set aside: {reason}" for reason in self.set_aside]
        if self.undecided:
            lines.append(
                f"{amount(self.undecided, 'tile has', 'tiles have')} no exposure time, so that nothing says "
                "whether it is clean. Give --clean-from 0 if all photographs are."
            )
        return "\n".join([*lines, str(self.metadata)])


def photographs_at(path: Path) -> list[Path]:
    """Return the photograph itself, or all images and RAW files in a folder, by name.

    Raises:
        DataError: there is none.
    """
    return pictures_at(path, RAW_SUFFIXES)


def cut_tiles(
    photographs: list[Path],
    out: Path,
    size: int,
    *,
    clean_from: float = LONG_EXPOSURE,
    domain: str | None = None,
    metadata: Path | None = None,
) -> CutTiles:
    """Cut photographs into tiles side by side, one `.pt` file each, and write the metadata last.

    Args:
        photographs: images and RAW files. One that cannot be read, or is smaller than a tile, is set aside.
        out: folder of the tiles.
        size: side of a tile in pixels.
        clean_from: exposure time in seconds from which on tiles are clean; 0: all are.
        domain: of all these tiles; None: none.
        metadata: file to write; None: `metadata.json` in `out`.

    Raises:
        DataError: the metadata is there already, or no photograph gave a tile. ConfigError: `clean_from` is negative,
            or `out` takes no files.
    """
    if clean_from < 0:
        raise ConfigError(f"--clean-from {clean_from:g} is no exposure time. Give seconds, or 0: all tiles are clean.")
    check_results_folder(out, "The folder of the tiles")
    listing = metadata or out / METADATA
    if listing.exists():
        raise DataError(f"{listing} lists tiles already. Give another folder, or remove it.")
    out.mkdir(parents=True, exist_ok=True)
    splits = _splits(photographs)
    found = CutTiles(listing, dict.fromkeys(("train", "validation", "test"), 0), 0, 0, 0, {})
    rows: list[dict[str, Any]] = []
    noises: dict[str, list[Noise]] = defaultdict(list)
    for path, name in progress(list(_named(photographs)), len(photographs), "cutting tiles"):
        try:
            photograph = read_photograph(path)
            entries = _cut(photograph, out, name, size, found)
        except (DataError, ModelInputError) as error:
            found.set_aside.append(shown(str(error)))
            continue
        about = _about(photograph, clean_from) | {"split": splits[path]} | ({"domain": domain} if domain else {})
        rows += [entry | about for entry in entries]
        try:
            noise = noise_of_image(photograph.image)
            noises[photograph.camera].append(noise)
        except DataError as error:
            log.info("%s tells no noise: %s", shown(path), error)
    if not rows:
        raise DataError("No photograph gave a tile: " + " ".join(found.set_aside or ["none has any contrast."]))
    found.counts |= Counter(row["split"] for row in rows)
    found.clean = sum(row.get("is_clean", False) for row in rows)
    found.undecided = sum("is_clean" not in row for row in rows)
    found.cameras = {name: _typical(some) for name, some in sorted(noises.items())}
    write_json({"tiles": rows, "cameras": found.cameras}, listing)
    return found


def _about(photograph: Photograph, clean_from: float) -> dict[str, Any]:
    """Return what every tile of a photograph has in its entry."""
    about: dict[str, Any] = {"camera": photograph.camera} if photograph.camera else {}
    if photograph.exposure is not None:
        about["exposure"] = photograph.exposure
    if clean_from == 0 or photograph.exposure is not None:
        clean = clean_from == 0 or (photograph.exposure or 0) >= clean_from
        about |= {"is_clean": clean, "data_type": "long" if clean else "short"}
    return about


def _cut(photograph: Photograph, out: Path, name: str, size: int, found: CutTiles) -> list[dict[str, Any]]:
    """Write the tiles of one photograph; their ids and files."""
    height, width = photograph.image.shape[1:]
    if min(height, width) < size:
        raise DataError(f"{name} has {width} × {height} pixels, less than a tile of {size}.")
    entries = []
    for row in range(height // size):
        for column in range(width // size):
            tile = photograph.image[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            if float(tile.std()) < LEAST_DEVIATION:
                found.flat += 1
                continue
            tile_id = f"{name}_{row:03d}_{column:03d}"
            _save(tile.clone(), out / f"{tile_id}.pt")
            entries.append({"tile_id": tile_id, "file": f"{tile_id}.pt"})
    return entries


def _named(photographs: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each photograph with a name of its own that a file may have."""
    stems = Counter(_plain(path.stem) for path in photographs)
    for number, path in enumerate(photographs):
        plain = _plain(path.stem)
        yield path, plain if stems[plain] == 1 else f"{plain}_{number}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name).lstrip(".") or "photograph"


def _splits(photographs: list[Path]) -> dict[Path, str]:
    """Return the split of each photograph: all exposures of one scene, by their names, are in the same."""
    scene = {path: EXPOSURE.sub("", path.stem) for path in photographs}
    ordered = sorted(set(scene.values()), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    held = max(1, round(HELD_OUT * len(ordered))) if len(ordered) >= 3 else 0
    named = dict.fromkeys(ordered, "train")
    named |= dict.fromkeys(ordered[:held], "validation") | dict.fromkeys(ordered[held : 2 * held], "test")
    return {path: named[scene[path]] for path in photographs}


def _typical(some: list[Noise]) -> dict[str, float]:
    """Return the median of the estimates of one camera, and their number."""
    typical = asdict(Noise(median(n.a for n in some), median(n.b for n in some)))
    return {"photographs": len(some), **typical}


def _save(tile: Tensor, path: Path) -> None:
    with written_whole(path) as partial:
        torch.save(tile, partial)
