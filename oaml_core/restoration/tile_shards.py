"""Clean tiles as memory-mapped shards: one read instead of one file a tile.

tiles.json            written last: fingerprint, shape, counts, and each tile's domain
<split>-00000.npy …   float32 [n, C, H, W]
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.data.prepared.dataset import open_array
from oaml_core.errors import DataError
from oaml_core.progress import progress
from oaml_core.reserved_file import reserve
from oaml_core.restoration.tile_check import validate_dataset_compatibility
from oaml_core.restoration.tiles import SPLITS, TileFolder, one_hot, read_metadata
from oaml_core.store.local_file import appearing
from oaml_core.structured_text import parse_json

MANIFEST = "tiles.json"
SHARD_BYTES = 256 * 2**20
"""Most bytes of one shard; a store moves several at a time."""


def tiles_fingerprint(folder: Path, domain: str | None = None, metadata: Path | None = None) -> str:
    """Return 16 hexadecimal digits that name the clean tiles of a folder: their entries and the bytes of their files.

    Raises:
        DataError: as `read_metadata`.
    """
    whole = hashlib.sha256(repr(domain).encode())
    for entry in sorted((e for e in read_metadata(folder, metadata) if e.clean), key=lambda e: e.id):
        with (folder / entry.file).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{entry.id} {entry.split} {entry.domain} {content}\n".encode())
    return whole.hexdigest()[:16]


def write_shards(
    folder: Path, out: Path, *, tile_size: int = 1, domain: str | None = None, metadata: Path | None = None
) -> str:
    """Check a tile folder and write its clean tiles as shards into `out`; their fingerprint.

    What is there already, of the same tiles, stays. Memory does not grow with the number of tiles.

    Raises:
        DataError: the tiles are not fit to train on; lists them.
        StoreError: the disk is full, or the folder cannot be written.
    """
    fingerprint = tiles_fingerprint(folder, domain, metadata)
    if (out / MANIFEST).is_file() and read_shard_manifest(out)["fingerprint"] == fingerprint:
        return fingerprint
    findings = validate_dataset_compatibility(folder, tile_size, domain, metadata)
    out.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in SPLITS:
        if findings.counts[split]:
            tiles = TileFolder(folder, split, domain, metadata=metadata)
            splits[split] = {"domains": [entry.domain for entry in tiles.entries], "shards": _write(tiles, out, split)}
    manifest = {
        "fingerprint": fingerprint,
        "shape": list(findings.shape),
        "deviation": findings.deviation,
        "splits": splits,
    }
    with appearing(out / MANIFEST) as unfinished:
        unfinished.write_text(json.dumps(manifest))
    return fingerprint


def read_shard_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest that `write_shards` writes last.

    Raises:
        DataError: it is missing or damaged: the shards are not complete.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{folder} holds no complete tiles (no {MANIFEST}): prepare them again.") from None
    needs = {"fingerprint": str, "shape": list, "deviation": float, "splits": dict}
    where, remedy = str(folder / MANIFEST), "Prepare the tiles again."
    found = parse_json(text, where, remedy, DataError, needs)
    for name, split in found["splits"].items():
        lists = [split.get(key) for key in ("domains", "shards")] if isinstance(split, dict) else []
        if not lists or not all(isinstance(one, list) and all(isinstance(v, str) for v in one) for one in lists):
            raise DataError(f"{where} is damaged: split {name} lists no domains and shards. {remedy}")
    return found


@dataclass
class TileShards:
    """The tiles of one split, read from shards that all processes share.

    Args:
        folder: what `write_shards` wrote.
        split: `train`, `validation` or `test`.
        use_labels: give each tile's domain as its label.

    Raises:
        DataError: the folder is not complete, or has no such split.
    """

    folder: Path
    split: str
    use_labels: bool = False

    def __post_init__(self) -> None:
        splits = read_shard_manifest(self.folder)["splits"]
        if self.split not in splits:
            raise DataError(f"{self.folder} has no clean tile of split {self.split!r}; it has {', '.join(splits)}.")
        self._domains: list[str] = splits[self.split]["domains"]
        self._shards: list[str] = splits[self.split]["shards"]
        self.domains = tuple(sorted(set(self._domains))) if self.use_labels else ()

    @cached_property
    def _arrays(self) -> list[NDArray[np.float32]]:
        found = [open_array(self.folder / PurePath(name).name) for name in self._shards]
        if sum(map(len, found)) != len(self) or any(shard.ndim != 4 for shard in found):
            raise DataError(f"The shards in {self.folder} hold other tiles than {MANIFEST} says: prepare again.")
        return found

    def __len__(self) -> int:
        return len(self._domains)

    def read(self, index: int) -> Tensor:
        """Return float32 [C, H, W] in [-1, 1]."""
        shard, row = divmod(index, len(self._arrays[0]))
        return torch.from_numpy(self._arrays[shard][row].copy())

    def domain(self, index: int) -> str:
        """Return what a tile shows; empty if nothing says it."""
        return self._domains[index]

    def label(self, index: int) -> Tensor:
        """One-hot over the domains, or [0]."""
        return one_hot(self.domains, self._domains[index])


def _write(tiles: TileFolder, out: Path, split: str) -> list[str]:
    """Return names of the shards of one split; all but the last hold the same number of tiles."""
    first = tiles.read(0)
    each = max(1, SHARD_BYTES // (first.numel() * 4))
    names = []
    for start in range(0, len(tiles), each):
        rows = range(start, min(start + each, len(tiles)))
        name = f"{split}-{start // each:05d}.npy"
        shape = len(rows), *tuple(first.shape)
        with appearing(out / name) as unfinished:
            shard = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=shape)
            reserve(unfinished, unfinished.stat().st_size)
            for row in progress(rows, len(rows), f"writing {name}"):
                shard[row - start] = tiles.read(row).numpy()
            shard.flush()
        names.append(name)
    return names
