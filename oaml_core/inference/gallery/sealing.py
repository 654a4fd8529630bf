"""Encryption of what a gallery keeps of a face, by AES-256-GCM with a key that is not in the file."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_VARIABLE, KEY_FILE_VARIABLE = "OAML_GALLERY_KEY", "OAML_GALLERY_KEY_FILE"
"""Environment variables: the key in base64, or the file that holds it as a Secret mounts it."""
KEY_BYTES, NONCE_BYTES = 32, 12
SEALED = b"OFE"
"""Beginning of encrypted content; one byte follows that says what it is."""
HEAD = len(SEALED) + 1
REMEDY = "`openssl rand -base64 32` makes one."


class SealBroken(Exception):
    """Content that another key encrypted, or that was changed or moved to another row."""


class GalleryCipher:
    """Encrypts with one key; a nonce is drawn per content, good for 2³² contents per key (NIST SP 800-38D).

    Args:
        key: 32 bytes.

    Raises:
        ConfigError: the package `cryptography` is not installed.
    """

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigError(
                f"{KEY_VARIABLE} asks for encryption, and the package for it is missing: pip install 'oaml[serve]'."
            ) from None
        self._aead: AESGCM = AESGCM(key)

    def seal(self, kind: bytes, content: bytes, about: str) -> bytes:
        """Encrypt content.

        Args:
            kind: one byte, readable without the key.
            content: to be encrypted.
            about: where the content belongs; it opens nowhere else.
        """
        head, nonce = SEALED + kind, os.urandom(NONCE_BYTES)
        return head + nonce + self._aead.encrypt(nonce, content, head + about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """Decrypt what `seal` returned for the same `about`.

        Raises:
            SealBroken: it was encrypted by another key, for another `about`, or was changed since.
        """
        from cryptography.exceptions import InvalidTag

        head, nonce, rest = sealed[:HEAD], sealed[HEAD : HEAD + NONCE_BYTES], sealed[HEAD + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, rest, head + about.encode())
        except (InvalidTag, ValueError):  # ValueError: the nonce was cut off
            raise SealBroken from None


def is_sealed(content: bytes) -> bool:
    """Return True if content is encrypted."""
    return content.startswith(SEALED)


def cipher_from_environment() -> GalleryCipher | None:
    """Return the cipher with the key that the environment names; None: it names none.

    Raises:
        ConfigError: the key's file cannot be read, or the key is not 32 bytes in base64.
    """
    text, file = os.environ.get(KEY_VARIABLE, ""), os.environ.get(KEY_FILE_VARIABLE, "")
    if text and file:
        raise ConfigError(f"{KEY_VARIABLE} and {KEY_FILE_VARIABLE} are both set. Leave one of them out.")
    if file:
        return cipher_from_file(Path(file), f"{file}, which {KEY_FILE_VARIABLE} names,")
    return _cipher(text, KEY_VARIABLE) if text else None


def cipher_from_file(path: Path, called: str) -> GalleryCipher:
    """Return the cipher with the key that a file holds.

    Args:
        path: of the file.
        called: name of the file in messages.

    Raises:
        ConfigError: the file cannot be read, or does not hold 32 bytes in base64.
    """
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{called} cannot be read as the key of galleries: {error}. {REMEDY}") from None
    if not text.strip():
        raise ConfigError(f"{called} is empty; it should hold the key of galleries. {REMEDY}")
    return _cipher(text, called)


def _cipher(text: str, called: str) -> GalleryCipher:
    try:
        key = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{called} holds no key of galleries: a key is {KEY_BYTES} bytes in base64. {REMEDY}")
    return GalleryCipher(key)
