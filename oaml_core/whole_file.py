"""Files that are there whole or not at all, and leave nothing beside them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oaml_core.errors import ConfigError


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


def check_results_folder(folder: Path, option: str) -> None:
    """Make sure, before hours of work, that results can be written to a folder; nothing is made and nothing left.

    Args:
        folder: where they are to be written; it may be absent.
        option: how the user names it, for the message.

    Raises:
        ConfigError: it is a file, lies below one, or takes no file.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    reason = "" if there.is_dir() else "is a file"
    try:
        if not reason:
            with tempfile.TemporaryFile(dir=there):
                pass
    except OSError as error:
        reason = f"takes no file ({error.strerror})"
    if reason:
        raise ConfigError(f"{option} {folder}: {there} {reason}. Name a folder that can be written.")
