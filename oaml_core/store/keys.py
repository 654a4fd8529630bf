"""Keys of objects: which there can be, and which are the store's own."""

from __future__ import annotations

from pathlib import PurePosixPath

from oaml_core.errors import StoreError

KEY_BYTES = 1024
"""Longest key, as S3 has it."""
DIGESTS = ".sha256"
"""Folder in which a store without metadata of its own keeps digests: one file per object, in this folder beside it."""


def checked_key(key: str) -> str:
    """Return `key` if it stays below the store's prefix.

    Raises:
        StoreError: it is absolute, empty, ends in a slash, or climbs out with `..`.
    """
    if not PurePosixPath(key).parts or key.endswith("/"):
        raise _no_key(key)
    return checked_prefix(key)


def checked_prefix(prefix: str) -> str:
    """Return `prefix` if it is empty or stays below the store's own.

    Raises:
        StoreError: it is absolute, climbs out with `..`, or has `.` or nothing between two slashes: no folder can tell
            such a key from another one, and what follows two slashes could pass for an absolute path.
    """
    if prefix.startswith("/") or "//" in prefix or {".", ".."} & set(prefix.split("/")) or "\0" in prefix:
        raise _no_key(prefix)
    if len(prefix.encode(errors="surrogateescape")) > KEY_BYTES:
        raise StoreError(f"The key {prefix[:40]}… is too long: stores take at most {KEY_BYTES} bytes.")
    return prefix


def is_listed(key: str) -> bool:
    """Return True if `key` is neither one of the store's own, by a name in it that begins with a dot, nor the empty
    object
    that S3 consoles make for a folder, by its slash at the end.
    """
    dotted = key.startswith(".") or "/." in key  # millions of keys have no such part, and are not taken apart
    own = dotted and any(part.startswith(".") and part not in (".", "..") for part in key.split("/"))
    return bool(key) and not own and not key.endswith("/")


def digest_key(key: str) -> str:
    """Return the key of the SHA-256 of `key` in stores without metadata, whatever prefix they are opened at."""
    path = PurePosixPath(key)
    return (path.parent / DIGESTS / path.name).as_posix()


def _no_key(key: str) -> StoreError:
    return StoreError(f"{key!r} is not a key: keys are relative paths without '.', '..' and empty parts.")
