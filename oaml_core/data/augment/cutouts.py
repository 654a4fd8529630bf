"""Cut-outs of real things: a user's folder of RGBA files by kind, part of them held out from training for good."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageOps

from oaml_core.amounts import amount
from oaml_core.data.augment.occluder_artwork import Split
from oaml_core.data.augment.occluder_artwork_raster import read_picture
from oaml_core.data.augment.placing import WORN
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError, nearest
from oaml_core.folder_entries import folders_in, no_folder, read_regular, regular_files

log = logging.getLogger(__name__)

KEY = "data.occluders"
WHAT = "cut-outs"
"""Begins messages about files, whichever key or option named their folder."""
ANYWHERE = ("object", "objects")
"""Folders of things that are worn nowhere."""
HELD_OUT = 0.3
"""Share of the pictures that training never lays on a face, about."""


@dataclass(frozen=True)
class Cutouts:
    """Files of a folder, by kind and split."""

    folder: Path
    files: Mapping[tuple[str, Split], tuple[Path, ...]]

    def kinds(self, split: Split | None = None) -> list[str]:
        """Kinds with files of that split; None: of any."""
        return sorted({kind for kind, known in self.files if split in (known, None)})

    def every(self, kind: str) -> tuple[Path, ...]:
        """Files of a kind, of both splits, in the order of their names."""
        return tuple(sorted(path for split in get_args(Split) for path in self.files.get((kind, split), ())))

    def of(self, kind: str, split: Split) -> tuple[Path, ...]:
        """Files of a kind and split, in the order of their names.

        Raises:
            DataError: the folder has none of that kind or none of that split.
        """
        found = self.files.get((kind, split), ())
        if found:
            return found
        every = len(self.every(kind))
        if not every:
            hint = nearest(kind, self.kinds())
            raise DataError(
                f"{WHAT}: {self.folder} has no cut-outs of kind {kind!r}.{hint} It has {', '.join(self.kinds())}."
            )
        use = "training" if split == "train" else "testing"
        raise DataError(
            f"{WHAT}: none of the {amount(every, 'file')} in {self.folder / kind} is for {use}; what they show "
            f"decides, about {HELD_OUT:.0%} are for testing. Add files."
        )


def split_of(picture: Image.Image) -> Split:
    """Return the side that a picture is on: training, or held out for testing.

    What it shows decides. The same picture is on the same side under any name, in any folder and format without loss,
    trimmed or not, and mirrored.

    Args:
        picture: RGBA.
    """
    shown = picture.crop(picture.getchannel("A").getbbox()).convert("RGBa")
    digests = (
        hashlib.sha256(f"{one.size}".encode() + np.asarray(one).tobytes()).digest()
        for one in (shown, ImageOps.mirror(shown))
    )
    return "test" if int.from_bytes(min(digests)[8:16], "big") < HELD_OUT * 2**64 else "train"


@lru_cache(maxsize=8)
def open_cutouts(folder: Path) -> Cutouts:
    """Find and check the cut-outs of a folder, one sub-folder per kind.

    Args:
        folder: the names of its sub-folders say where a thing is worn: those of `placing.WORN`; others lie anywhere.

    Raises:
        DataError: there is no such folder, no kind in it, a sub-folder without files, or a file that cannot be read, is
            opaque, or is all transparent.
    """
    if not folder.is_dir():
        raise DataError(f"{WHAT}: {no_folder(folder)}. Give a folder with one sub-folder per kind of cut-out.")
    known = ", ".join(WORN)
    kinds = folders_in(folder)
    if not kinds:
        raise DataError(
            f"{WHAT}: {folder} has no sub-folders, so it holds no cut-outs. Put RGBA files into sub-folders by kind: "
            f"{known}."
        )
    files: dict[tuple[str, Split], list[Path]] = {}
    for entry in kinds:
        if entry.name not in (*WORN, *ANYWHERE):
            hint = nearest(entry.name.casefold(), WORN)
            log.warning("%s: %s lies anywhere on the face; the kinds with a place are %s.%s", WHAT, entry, known, hint)
        for path in _pictures(entry):
            files.setdefault((entry.name, split_of(read_picture(path, WHAT, "alpha"))), []).append(path)
    return Cutouts(folder, {key: tuple(paths) for key, paths in files.items()})


def digest_of_kinds(folder: Path, kinds: Iterable[str]) -> str:
    """Return the digest of the names and contents of all files of some kinds, hexadecimal.

    Args:
        folder: of cut-outs.
        kinds: sub-folders; one that is not there has no files.

    Raises:
        DataError: a file cannot be read.
    """
    found = hashlib.sha256()
    for kind in sorted(set(kinds)):
        for path in _pictures(folder / kind) if (folder / kind).is_dir() else ():
            try:
                content = hashlib.sha256(read_regular(path)).hexdigest()
            except OSError as error:
                raise DataError(f"{WHAT}: {path} cannot be read: {error.strerror}.") from None
            found.update(f"{kind}/{path.name}\0{content}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def _pictures(folder: Path) -> list[Path]:
    # Files that cannot hold transparency are among them, to be named rather than passed over.
    found = [path for path in regular_files(folder, IMAGE_SUFFIXES) if path.parent == folder]
    if not found:
        raise DataError(f"{WHAT}: {folder} has no pictures. Put RGBA files (PNG) there, or remove the sub-folder.")
    return found
