"""Folders for temporary files that name who made them, so that those of killed processes can be removed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from oaml_core.folder_entries import read_regular
from oaml_core.processes import holder_name, is_gone

BEGINNING = "oaml-"
"""Beginning of the names of all such folders."""
HOLDER = "holder"
"""File in such a folder: the process that made it."""
HOLDER_BYTES = 4096


@contextmanager
def held_folder(prefix: str) -> Iterator[Path]:
    """Make a folder that is removed with the block; those that killed processes left go as well.

    Args:
        prefix: beginning of the names of a kind of folders, `oaml-` and a word.
    """
    remove_left()
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / HOLDER).write_text(holder_name())
        yield folder


def remove_left() -> None:
    """Remove the folders whose process has ended on this machine, once in a process: small objects are read often."""
    _remove_left(tempfile.gettempdir())


@cache
def _remove_left(place: str) -> None:
    for folder in Path(place).glob(f"{BEGINNING}*"):
        with suppress(OSError):  # another user's, or made this moment
            if is_gone(read_regular(folder / HOLDER, HOLDER_BYTES).decode(errors="replace")):
                shutil.rmtree(folder, ignore_errors=True)
