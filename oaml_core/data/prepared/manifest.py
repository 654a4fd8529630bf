"""What a prepared data set consists of: `manifest.json`, written after everything that it names."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from oaml_core.errors import DataError
from oaml_core.structured_text import check_types, parse_json

MANIFEST = "manifest.json"
FORMAT = 1
"""Raised when the prepared files change their form; part of every fingerprint."""
FILE_TYPES = {"path": str, "size": int, "sha256": str, "key": str}
TYPES = {
    "fingerprint": str,
    "source_kind": str,
    "image_size": int,
    "channel_order": str,
    "images": int,
    "identities": list,
    "verification": dict,
    "visibility_pairs": int,
    "set_aside": int,
    "images_looked_at": int,
    "warnings": list,
    "settings": dict,
    "files": list,
    "format": int,
}


@dataclass(frozen=True)
class ManifestFile:
    """One file of the data set."""

    path: str
    """Relative to the data set's folder."""
    size: int
    sha256: str
    key: str
    """Key of the content in the store: named by checksum, so that data sets share what they have in common."""


@dataclass(frozen=True)
class Manifest:
    """A prepared data set. Nothing in it depends on when or where it was prepared."""

    fingerprint: str
    """Digest of the source's content and of the configuration keys that shape the result."""
    source_kind: str
    """`recordio`, `image_folder`, `image_list` or `synthetic`."""
    image_size: int
    """Side of the images that are read from it, in pixels."""
    channel_order: Literal["rgb", "bgr"]
    """How the stored training images decode; what is read is RGB."""
    images: int
    """Training images."""
    identities: list[str]
    """Names of the training identities by label."""
    verification: dict[str, int]
    """Pairs of each verification set."""
    visibility_pairs: int
    """Faces with masks."""
    set_aside: int
    """Images that could not be used; listed in `checks.json`."""
    images_looked_at: int
    """All that were read, those set aside among them."""
    warnings: list[str]
    """What the checks found and training can live with."""
    settings: dict[str, Any]
    """The configuration keys that went into the fingerprint."""
    files: list[ManifestFile]
    format: int = FORMAT

    @property
    def num_identities(self) -> int:
        """Number of training identities."""
        return len(self.identities)

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True)


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """Return the manifest in a `manifest.json`; `where` names it in errors.

    Raises:
        DataError: it is damaged, or was written by another version.
    """
    try:
        remedy = "It is no manifest of a prepared data set; prepare it again."
        content = parse_json(text, where, remedy, DataError, needs=TYPES)
        if content["format"] != FORMAT:
            raise DataError(f"{where} has format {content['format']}, this version reads {FORMAT}; prepare it again.")
        check_types(content["verification"], dict.fromkeys(content["verification"], int), where, remedy, DataError)
        for file in content["files"]:
            check_types(file, FILE_TYPES, f"{where}: an entry of its files", remedy, DataError)
        content["files"] = [ManifestFile(**file) for file in content["files"]]
        names = [*content["verification"], *(name for f in content["files"] for name in (f.path, f.key))]
        if (outside := next((name for name in names if not _stays_inside(name)), None)) is not None:
            raise DataError(f"{where} names {outside!r}, which is no file of the data set; do not trust it.")
        return Manifest(**content)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is no manifest of a prepared data set ({error}); prepare it again.") from None


def _stays_inside(name: str) -> bool:
    """Return True if `name` can be that of a file below a folder."""
    return name.isprintable() and not name.startswith("/") and ".." not in name.split("/")
