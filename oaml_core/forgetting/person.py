"""Whom to forget: names, and digests of images."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from oaml_core.data.prepare.forgotten import digest_of_pixels
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError
from oaml_core.folder_entries import regular_files, shown
from oaml_core.printable_names import spellings

DIGEST = re.compile(r"[0-9a-f]{64}")
REPLACEMENT = "[forgotten]"
LEAST_LETTERS = 3
"""Characters of a name that is looked for in running text; shorter ones stand for much else."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass
class Person:
    """One person, by everything that a place can tell them by; grows while places are searched."""

    names: frozenset[str] = frozenset()
    files: set[str] = field(default_factory=set)
    """SHA-256 of encoded images, hexadecimal."""
    pixels: set[str] = field(default_factory=set)
    """SHA-256 of the pixels of images as data sets hold them."""
    images: dict[str, bytes] = field(default_factory=dict)
    """Encoded images by their SHA-256, as far as they were found; never written anywhere."""

    def add_image(self, encoded: bytes) -> None:
        """Take an encoded image as one of this person."""
        sha256 = hashlib.sha256(encoded).hexdigest()
        self.files.add(sha256)
        self.images[sha256] = encoded

    def pixels_at(self, size: int, channel_order: Literal["rgb", "bgr"]) -> set[str]:
        """Return digests of the pixels of all images at the size and order of a data set."""
        found = set(self.pixels)
        for encoded in self.images.values():
            try:
                found.add(digest_of_pixels(fit_square(decode_image(encoded, channel_order), size)))
            except DataError:  # no data set can hold it as an aligned face
                continue
        return found

    def is_meant(self, name: str) -> bool:
        """Return True if `name` is a name of this person."""
        return name in self.names

    def is_in_path(self, path: str) -> bool:
        """Return True if a part of a path is a name of this person, a file's number and ending aside."""
        if not self.names:
            return False
        parts = re.split(r"[/\\]", path)
        stem = parts[-1].rpartition(".")[0] or parts[-1]
        return any(part in self.names for part in (*parts, stem, re.sub(r"[_-]?\d+$", "", stem)))

    def mentions(self, text: str) -> bool:
        """Return True if a text names this person."""
        return self._telling is not None and self._telling.search(text) is not None

    def redact(self, text: str) -> str:
        """Return a text with `[forgotten]` in place of this person's names."""
        return text if self._telling is None else self._telling.sub(REPLACEMENT, text)

    @cached_property
    def _telling(self) -> re.Pattern[str] | None:
        """Names that stand for nobody and nothing else: three characters and more, one of them a letter."""
        plain = [n for n in self.names if len(n) >= LEAST_LETTERS and any(letter.isalpha() for letter in n)]
        names = {spelt for n in plain for spelt in (n, html.escape(n), json.dumps(n)[1:-1])}
        if not names:
            return None
        listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return re.compile(rf"(?<![^\W_])(?:{listed})(?![^\W_])")


def person_of(words: Sequence[str], images: Iterable[Path] = ()) -> Person:
    """Return whom a command line means.

    Args:
        words: names, and SHA-256 of images as files or of their pixels (64 hexadecimal digits).
        images: image files of the person, and folders of such.

    Raises:
        DataError: nobody is named, or a file cannot be read.
    """
    digests = {word for word in words if DIGEST.fullmatch(word)}
    names = frozenset(form for word in words if word.strip() and word not in digests for form in spellings(word)[1:])
    person = Person(names, set(digests), set(digests))
    for path in images:
        files = regular_files(path, PICTURES) if path.is_dir() else [path]
        pictures = [file for file in files if file.suffix.lower() in PICTURES and file.is_file()]
        if not pictures:
            raise DataError(f"{shown(path)} is neither an image nor a folder of images ({', '.join(PICTURES)}).")
        for file in pictures:
            person.add_image(file.read_bytes())
    if not person.names and not person.files:
        raise DataError("Say whom to forget: a name, SHA-256 digests of images, or --images.")
    return person
