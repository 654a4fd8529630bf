"""The receipt of a request: what was searched, found and removed, what remains, and a signature over all of it.

The signature is HMAC-SHA256 with a key that only the operator has. Names stand in it as HMAC of the name alone: who
knows the name and the key can tell whose receipt it is, nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable
from typing import Any

from oaml_core.errors import ConfigError, DataError
from oaml_core.forgetting.person import Person

KEY_VARIABLE = "OAML_RECEIPT_KEY"
SHORTEST_KEY = 16
ALGORITHM = "HMAC-SHA256 over the JSON without `signature`, keys sorted, no spaces, UTF-8"


def receipt_key() -> bytes:
    """Return the key for signatures from the environment.

    Raises:
        ConfigError: there is none, or it is too short.
    """
    key = os.environ.get(KEY_VARIABLE, "").encode()
    if len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"{KEY_VARIABLE} must hold a secret of at least {SHORTEST_KEY} characters, which signs the receipt. "
            "`openssl rand -hex 32` makes one; keep it where the receipts are not."
        )
    return key


def subject_of(person: Person, key: bytes) -> str:
    """Return a name for the request that says nothing without the key, and is the same at every try."""
    words = sorted(person.names) or sorted(person.files | person.pixels)
    return hmac.new(key, "\n".join(words).encode(), hashlib.sha256).hexdigest()


def sign(receipt: dict[str, Any], key: bytes) -> dict[str, Any]:
    """Return a receipt with its signature."""
    signature = hmac.new(key, _signed_part(receipt), hashlib.sha256).hexdigest()
    return receipt | {"signature": {"algorithm": ALGORITHM, "value": signature}}


def verify(receipt: dict[str, Any], key: bytes, names: Iterable[str] = ()) -> None:
    """Check a receipt's signature and, where names are given, that it is about them.

    Raises:
        DataError: it was changed, was signed with another key, or is about somebody else.
    """
    found = receipt.get("signature")
    value = found.get("value", "") if isinstance(found, dict) else ""
    wanted = hmac.new(key, _signed_part(receipt), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(str(value).encode(errors="surrogatepass"), wanted.encode()):
        raise DataError("The signature does not fit: the receipt was changed, or signed with another key.")
    if (named := sorted(names)) and subject_of(Person(frozenset(named)), key) != receipt.get("subject"):
        raise DataError("The receipt is genuine, but about somebody else.")


def _signed_part(receipt: dict[str, Any]) -> bytes:
    content = {name: value for name, value in receipt.items() if name != "signature"}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
