"""Are these tiles fit to learn a prior from? Looked at before training, all faults listed at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from oaml_core.amounts import amount
from oaml_core.errors import DataError
from oaml_core.progress import progress
from oaml_core.restoration.tiles import METADATA, SPLITS, TileEntry, read_metadata, read_tile

SLACK = 1e-3
"""Values may leave [-1, 1] by this much: rounding of whoever wrote them."""
LEAST_DEVIATION = 1e-4
"""Standard deviation below which a tile shows nothing."""
MOST_NAMED = 20
"""Faults that the error lists; it says how many more there are."""


@dataclass
class TileFindings:
    """The findings in a tile folder."""

    counts: dict[str, int] = field(default_factory=dict)
    """Clean tiles of each split."""
    shape: tuple[int, ...] = ()
    """Shape of every clean tile."""
    mean: float = 0.0
    deviation: float = 0.0
    """Standard deviation of all values of the clean tiles: restoration.sigma_data should be near it."""
    faults: list[str] = field(default_factory=list)


def validate_dataset_compatibility(
    folder: Path, tile_size: int = 1, domain: str | None = None, metadata: Path | None = None
) -> TileFindings:
    """Look at every clean tile of a folder, one at a time.

    Args:
        folder: with the tiles.
        tile_size: side of the crops that training takes.
        domain: only tiles of this domain; None: all.
        metadata: as for `read_metadata`.

    Raises:
        DataError: the metadata cannot be used, or lists what makes the tiles unfit: tiles that nothing says clean or
            noisy of, noisy ones that are marked clean, another type than float32, shapes that differ or are smaller
            than tile_size, values that are not finite or outside [-1, 1], tiles without contrast, none to train on.
    """
    findings = TileFindings()
    entries = [entry for entry in read_metadata(folder, metadata) if domain in (None, entry.domain)]
    findings.faults += [f"{e.id}: nothing says whether it is clean" for e in entries if e.clean is None]
    findings.faults += [f"{e.id}: is_clean is true, but {e.contradiction}" for e in entries if e.contradiction]
    clean = [entry for entry in entries if entry.clean]
    findings.counts = dict.fromkeys(SPLITS, 0) | Counter(entry.split for entry in clean)
    if not findings.counts["train"]:
        findings.faults.append("no clean tile in split 'train'")
    _look(folder, clean, tile_size, findings)
    if findings.faults:
        raise DataError(_message(folder, metadata or folder / METADATA, findings.faults))
    return findings


def _look(folder: Path, entries: list[TileEntry], tile_size: int, findings: TileFindings) -> None:
    total = squares = values = 0.0
    for entry in progress(entries, len(entries), "checking tiles"):
        try:
            tile = read_tile(folder / entry.file)
        except DataError as error:
            findings.faults.append(f"{entry.id}: {error}")
            continue
        findings.shape = findings.shape or tuple(tile.shape)
        if fault := tile_fault(tile, findings.shape, tile_size):
            findings.faults.append(f"{entry.id}: {fault}")
            continue
        total, squares = total + float(tile.double().sum()), squares + float(tile.double().square().sum())
        values += tile.numel()
    if values:
        findings.mean = total / values
        findings.deviation = max(0.0, squares / values - findings.mean**2) ** 0.5


def tile_fault(tile: Tensor, shape: tuple[int, ...], tile_size: int) -> str | None:
    """Return the reason why a tile is unfit, or None if it is fit."""
    if tile.dtype != torch.float32:
        return f"its type is {tile.dtype}, not float32"
    if tuple(tile.shape) != shape:
        return f"its shape is {list(tile.shape)}, that of the first tile {list(shape)}"
    if min(tile.shape[1:]) < tile_size:
        return f"{list(tile.shape[1:])} pixels are less than restoration.tile_size {tile_size}"
    bad = int((~tile.isfinite()).sum())
    if bad:
        return f"{amount(bad, 'value is', 'values are')} NaN or infinite"
    low, high = float(tile.min()), float(tile.max())
    if low < -1 - SLACK or high > 1 + SLACK:
        return f"its values lie in [{low:.3g}, {high:.3g}], not in [-1, 1]"
    if float(tile.std()) < LEAST_DEVIATION:
        return "all its values are equal"
    return None


def _message(folder: Path, metadata: Path, faults: list[str]) -> str:
    more = [f"… and {len(faults) - MOST_NAMED} more"] if len(faults) > MOST_NAMED else []
    listed = "\n  ".join([*faults[:MOST_NAMED], *more])
    return f"{folder} cannot train a prior:\n  {listed}\nMend or remove these tiles, and their entries in {metadata}."
