"""The gallery's file with encrypted contents: the key is checked before anything is read or written by it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from oaml_core.errors import GalleryLocked
from oaml_core.inference.gallery.file import GalleryFile
from oaml_core.inference.gallery.sealing import (
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    GalleryCipher,
    SealBroken,
    cipher_from_environment,
    is_sealed,
)

KEY_CHECK = "key_check"
"""Key of the table `meta`: nothing, encrypted; there if local features and kept images are encrypted."""
OF_CHECK = b"0"
"""Kind of that encrypted content."""


class EncryptedFile(GalleryFile):
    """A gallery's file whose local features and kept images are encrypted if a key is given when it is made.

    The environment names the key (see `sealing`). Of an encrypted gallery, everything else can be read, and people
    deleted, without the key.

    Raises:
        ConfigError: the environment names a key that is none. Else as `GalleryFile` does.
    """

    def __init__(self, path: str | Path, model: str | None = None) -> None:
        self.cipher: GalleryCipher | None = cipher_from_environment()
        """The cipher that contents are read and written by; None: no key was given."""
        super().__init__(path, model)

    def on_made(self, db: sqlite3.Connection) -> None:
        """Encrypt what is written from this change on, if there is a key."""
        if self.cipher is not None:
            self.note_key(db, self.cipher)

    @property
    def is_encrypted(self) -> bool:
        """Return True if local features and kept images are encrypted."""
        return bool(self.meta(KEY_CHECK))

    def is_encrypted_by(self, cipher: GalleryCipher) -> bool:
        """Return True if local features and kept images are encrypted with the key of this cipher."""
        check = self.meta(KEY_CHECK)
        try:
            cipher.open(bytes.fromhex(check), KEY_CHECK)
        except (SealBroken, ValueError):
            return False
        return True

    def require_key(self) -> None:
        """Return if what the gallery holds can be read and written: it is not encrypted, or its key is at hand.

        Raises:
            GalleryLocked: the key is missing, or is another one.
        """
        if not self.is_encrypted:
            return
        remedy = f"Set {KEY_FILE_VARIABLE} or {KEY_VARIABLE} to the key that {self.path} is encrypted with now."
        if self.cipher is None:
            raise GalleryLocked("The gallery is encrypted, and no key is given.", here=remedy)
        if not self.is_encrypted_by(self.cipher):
            raise GalleryLocked("The gallery is encrypted with another key than the one given.", here=remedy)

    def note_key(self, db: sqlite3.Connection, cipher: GalleryCipher) -> None:
        """Note within a change that contents are encrypted by this cipher."""
        check = cipher.seal(OF_CHECK, b"", KEY_CHECK).hex()
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (KEY_CHECK, check))

    def sealed(self, kind: bytes, content: bytes, about: str) -> bytes:
        """Return content as it is written: encrypted, if the gallery is.

        Raises:
            GalleryLocked: it is, and the key is missing or another one.
        """
        if not self.is_encrypted:
            return content
        self.require_key()
        assert self.cipher is not None
        return self.cipher.seal(kind, content, about)

    def unsealed(self, content: bytes, about: str) -> bytes:
        """Return content as it was given; what was changed in the file since stays encrypted.

        Raises:
            GalleryLocked: it is encrypted, and the key is missing or another one.
        """
        if not is_sealed(content):
            return content
        if self.cipher is None:
            self.require_key()
        assert self.cipher is not None
        try:
            return self.cipher.open(content, about)
        except SealBroken:
            self.require_key()
            return content
