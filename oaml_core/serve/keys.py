"""API keys: their hashes, what each may do, and how often."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from oaml_core.errors import ConfigError

ROLES = ("read", "enrol", "admin")
"""Each may do what those before it may; `admin` deletes."""


@dataclass
class Key:
    """One key, without the key itself."""

    name: str
    """First digits of its hash, for logs."""
    role: str
    allowance: float
    """Requests that may be made at once now."""
    counted: float
    """Time of that count, in seconds of the clock."""

    def may(self, role: str) -> bool:
        """Return True if the key's role includes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Keys:
    """All keys by which callers of a service are known.

    Args:
        roles: role by SHA-256 of the key, hexadecimal.
        per_minute: requests per key and minute.
        clock: seconds, never running backwards.
    """

    def __init__(self, roles: dict[str, str], per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._keys = {digest: Key(digest[:8], role, per_minute, clock()) for digest, role in roles.items()}

    def find(self, key: str) -> Key | None:
        """Return what is known of a key; None for a wrong one."""
        # Only hashes are compared: the time that it takes says nothing about a key.
        return self._keys.get(key_digest(key))

    def spend(self, key: Key) -> float:
        """Count one request; returns 0, or the seconds to wait if there were too many (then it is not counted)."""
        now = self._clock()
        key.allowance = min(self._per_minute, key.allowance + (now - key.counted) * self._per_minute / 60)
        key.counted = now
        if key.allowance < 1:
            return (1 - key.allowance) * 60 / self._per_minute
        key.allowance -= 1
        return 0.0


def key_digest(key: str) -> str:
    """Return the hash by which a key is known: SHA-256, for keys are long and random."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """Return a fresh key of 256 random bits."""
    return secrets.token_urlsafe(32)


def read_keys(path: Path) -> dict[str, str]:
    """Read a file of keys: per line a role and the SHA-256 of a key; `#` begins a remark.

    Raises:
        ConfigError: the file is missing, or a line is something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The keys {path} cannot be read: {error}.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in ROLES or len(words[1]) != 64 or set(words[1]) - set("0123456789abcdef"):
            raise ConfigError(
                f"{path}, line {number}: a role ({', '.join(ROLES)}) and the SHA-256 of a key are needed, as "
                "`printf %s KEY | sha256sum` prints it."
            )
        found[words[1]] = words[0]
    if not found:
        raise ConfigError(f"{path} holds no key.")
    return found
