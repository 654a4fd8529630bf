"""Files of a source whose content does not come as it was listed and hashed: one place knows them for the fingerprint.

An image that is lost once is refused from then on, so that what a data set holds and what its fingerprint says do not
part. A file of many images is read further, and each of its images is set aside or not by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Container, Iterator
from contextlib import contextmanager
from posixpath import splitext

from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError


class LostFiles:
    """Lost files of one folder, each with the reason.

    Args:
        listed: names of the folder's files; others are not remembered, as no fingerprint covers them.
    """

    def __init__(self, listed: Container[str]) -> None:
        self._listed = listed
        self._images: dict[str, str] = {}
        self._never_hashed: set[str] = set()
        self.since_hashed: dict[str, str] = {}
        """Reasons by the names of files that were lost after their checksums had been asked for."""

    def __bool__(self) -> bool:
        return bool(self._images or self._never_hashed or self.since_hashed)

    def reasons(self) -> dict[str, str]:
        """Return the reasons by the names of lost images, and of other files that were lost since they were hashed."""
        return self.since_hashed | self._images

    @contextmanager
    def reading(self, name: str, *, hashing: bool = False) -> Iterator[None]:
        """Remember `name` if its content does not come within the block.

        Args:
            name: of a file.
            hashing: the content is wanted for its checksum.

        Raises:
            DataError: it is an image, and was lost before.
        """
        if name in self._images:
            raise DataError(self._images[name])
        try:
            yield
        except DataError as error:
            self.note(name, str(error), hashing=hashing)
            raise

    @contextmanager
    def parsing(self, name: str) -> Iterator[None]:
        """Remember `name` if the disk does not give it within the block; that its content is damaged is no loss."""
        try:
            yield
        except OSError as error:
            if error.errno is not None:  # libraries raise one without a number for damaged content
                self.note(name, f"{name} cannot be read: {error.strerror}.")
            raise

    def note(self, name: str, reason: str, *, hashing: bool = False) -> None:
        """Remember a file that is lost.

        Args:
            name: of the file.
            reason: a sentence.
            hashing: it was lost when its checksum was asked for.
        """
        if name not in self._listed:
            return
        if is_image(name):
            self._images[name] = reason
        elif hashing:
            self._never_hashed.add(name)
        if not hashing and name not in self._never_hashed:
            self.since_hashed[name] = reason

    def checksum(self, name: str) -> str | None:
        """Return the checksum by which a fingerprint covers a lost file; None for a file that is not lost.

        It is empty for an image, which a data set lacks until it can be read, and for a file that never could be. Of
        any other file nothing tells what was read: its checksum is another one each time, and no night reuses the data
        set.
        """
        if name in self._images or name in self._never_hashed:
            return ""
        return secrets.token_hex(16) if name in self.since_hashed else None


def is_image(name: str) -> bool:
    """Return True if a file is one image, by its ending."""
    return splitext(name)[1].lower() in IMAGE_SUFFIXES
