"""Clean tiles to learn a prior from: `.pt` files with a `metadata.json`, memory-mapped shards of them, or faces.

The metadata file, `metadata.json` in the tile folder or a file of its own, holds
`{"tiles": [{"id": …, "file": …, "split": …, …}, …]}` or just that list:

    id         name of the tile, unique; `tile_id` is read too
    file       its `.pt` file, relative to the folder: one float32 tensor [C, H, W] in [-1, 1]; where the entry has a
               `tile_id` and no file, `<tile_id>.pt`
    split      `train`, `validation` or `test`
    domain     what it shows, for the domain filter and as label (optional)
    is_clean   true or false (optional)
    data_type  `long` or `clean`; `short` or `noisy` (optional)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from oaml_core.errors import DataError
from oaml_core.folder_entries import read_regular, regular_files
from oaml_core.models.tensor_archive import load_tensors
from oaml_core.restoration.photographs import EXPOSURE
from oaml_core.structured_text import parse_json_value

log = logging.getLogger(__name__)

METADATA = "metadata.json"
SPLITS = ("train", "validation", "test")
CLEAN_TYPES = {"long": True, "clean": True, "short": False, "noisy": False}
LONG_EXPOSURE = 1.0
"""Seconds from which on an exposure counts as long, and its tile as clean."""
MOST_NAMED = 10
"""Tiles that an error names; it says how many more there are."""


@dataclass(frozen=True)
class TileEntry:
    """One tile of a folder, as its metadata describe it."""

    id: str
    file: str
    split: str
    domain: str = ""
    is_clean: bool | None = None
    data_type: str | None = None

    @property
    def clean(self) -> bool | None:
        """Return True for a clean tile, by `is_clean`, else `data_type`, else the exposure time in the id; None: no
        rule decides."""
        if self.is_clean is not None:
            return self.is_clean
        if self.data_type in CLEAN_TYPES:
            return CLEAN_TYPES[self.data_type]
        return self._long_exposure

    @property
    def contradiction(self) -> str | None:
        """Return the mark by which a tile with `is_clean` true is noisy all the same; None if there is none."""
        if not self.is_clean:
            return None
        if CLEAN_TYPES.get(self.data_type or "") is False:
            return f"data_type is {self.data_type!r}"
        return "its id tells a short exposure" if self.data_type is None and self._long_exposure is False else None

    @property
    def _long_exposure(self) -> bool | None:
        exposure = EXPOSURE.search(self.id)
        return None if exposure is None else float(exposure[1]) >= LONG_EXPOSURE


class Tiles(Protocol):
    """Clean tiles by number."""

    domains: tuple[str, ...]
    """Labels that `label` counts; empty: none."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """Return float32 [C, H, W] in [-1, 1]."""
        ...

    def label(self, index: int) -> Tensor:
        """Return float32 [L], one-hot over the domains; [0] where labels are not used."""
        ...


def read_metadata(folder: Path, metadata: Path | None = None) -> list[TileEntry]:
    """Return all entries of a tile folder.

    Args:
        folder: with the tiles.
        metadata: the file that lists them, which may leave tiles out; None: `metadata.json` in the folder, which
            must list all.

    Raises:
        DataError: the file is missing or not of the form above, an id occurs twice, or files and entries differ.
    """
    path = metadata or folder / METADATA
    try:
        text = read_regular(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; it lists the tiles of the folder (see the restoration guide).") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    content = parse_json_value(text, str(path), "Write it again.", DataError)
    rows = content.get("tiles") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DataError(f'{path} holds neither a list of tiles nor {{"tiles": […]}}.')
    entries = [_entry(path, number, row) for number, row in enumerate(rows)]
    _refuse(path, "ids that occur more than once", [i for i, n in Counter(e.id for e in entries).items() if n > 1])
    listed = {entry.file for entry in entries}
    there = {str(path.relative_to(folder)) for path in regular_files(folder, (".pt",))}
    if metadata is None:
        _refuse(path, "files that no entry lists", sorted(there - listed))
    elif there - listed:
        log.info("%s lists %d of the %d tiles in %s", metadata, len(there & listed), len(there), folder)
    _refuse(path, "entries whose file is missing", sorted(listed - there))
    return entries


def clean_entries(folder: Path, split: str, domain: str | None = None, metadata: Path | None = None) -> list[TileEntry]:
    """Return the clean tiles of one split, and of one domain if it is given; `metadata` as for `read_metadata`.

    Raises:
        DataError: as `read_metadata`; or no rule decides whether a tile is clean, or there is no such tile.
    """
    entries = read_metadata(folder, metadata)
    _refuse(
        metadata or folder / METADATA,
        "tiles of which nothing says whether they are clean (give them is_clean, or data_type, or an exposure time "
        "such as _0.1s_ in the id)",
        [entry.id for entry in entries if entry.clean is None],
    )
    chosen = [e for e in entries if e.clean and e.split == split and domain in (None, e.domain)]
    if not chosen:
        domains = ", ".join(sorted({e.domain for e in entries})) or "none"
        of_domain = f" and domain {domain!r}" if domain else ""
        raise DataError(f"{folder} has no clean tile of split {split!r}{of_domain}; its domains: {domains}.")
    return chosen


class TileFolder:
    """Clean tiles of one split of a folder.

    Args:
        folder: with the tiles.
        split: `train`, `validation` or `test`.
        domain: only tiles of this domain; None: all.
        use_labels: give each tile's domain as its label.
        metadata: as for `read_metadata`.

    Raises:
        DataError: as `clean_entries`.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        domain: str | None = None,
        *,
        use_labels: bool = False,
        metadata: Path | None = None,
    ) -> None:
        self.folder = folder
        self.entries = clean_entries(folder, split, domain, metadata)
        self.domains = tuple(sorted({e.domain for e in self.entries})) if use_labels else ()

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Tensor:
        """Return float32 [C, H, W]; nothing in the file is executed.

        Raises:
            DataError: the file holds something else.
        """
        return read_tile(self.folder / self.entries[index].file)

    def label(self, index: int) -> Tensor:
        """One-hot over the domains, or [0]."""
        return one_hot(self.domains, self.entries[index].domain)


def read_tile(path: Path) -> Tensor:
    """Return the tensor in a `.pt` file.

    Raises:
        DataError: it cannot be read, or is no tensor [C, H, W].
    """
    try:
        tile = load_tensors(path)
    except Exception as error:  # torch raises by the kind of damage
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read: {reason}. Write it with torch.save(tensor).") from None
    if not isinstance(tile, Tensor) or tile.ndim != 3:
        what = f"{list(tile.shape)}" if isinstance(tile, Tensor) else type(tile).__name__
        raise DataError(f"{path} holds {what}, not one tensor [C, H, W].")
    return tile


def one_hot(domains: Sequence[str], domain: str) -> Tensor:
    """Return float32 [len(domains)]."""
    label = torch.zeros(len(domains))
    if domains:
        label[domains.index(domain)] = 1
    return label


def _entry(path: Path, number: int, row: Any) -> TileEntry:
    if isinstance(row, dict) and isinstance(row.get("tile_id"), str):
        row = {"id": row["tile_id"], "file": f"{row['tile_id']}.pt"} | row
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise DataError(f"{path}: entry {number} has no id.")
    missing = [key for key in ("file", "split") if not isinstance(row.get(key), str)]
    if missing:
        raise DataError(f"{path}: tile {row['id']} has no {' and no '.join(missing)}.")
    if row["split"] not in SPLITS:
        raise DataError(f"{path}: tile {row['id']} has split {row['split']!r}; splits are {', '.join(SPLITS)}.")
    clean, kind = row.get("is_clean"), row.get("data_type")
    if clean is not None and not isinstance(clean, bool):
        raise DataError(f"{path}: tile {row['id']} has is_clean {clean!r}; it is true or false.")
    if kind is not None and (not isinstance(kind, str) or kind not in CLEAN_TYPES):
        raise DataError(f"{path}: tile {row['id']} has data_type {kind!r}; types are {', '.join(CLEAN_TYPES)}.")
    return TileEntry(row["id"], row["file"], row["split"], str(row.get("domain") or ""), clean, kind)


def _refuse(path: Path, what: str, found: Sequence[str]) -> None:
    if found:
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise DataError(f"{path}: {what}: {', '.join(found[:MOST_NAMED])}{more}.")
