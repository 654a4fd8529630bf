"""Files that are there whole or not at all, and leave nothing beside them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path, rename: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """A new file beside `path` to write to, which becomes `path` when the block ends well, and else goes.

    Only a process that is killed leaves it, under a name that begins with a dot and ends in `.tmp`.

    Args:
        path: the file that appears; its folder is there.
        rename: gives the new file the name `path`.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
