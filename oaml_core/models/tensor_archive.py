"""Files of `torch.save`, read without running anything of them and with the checksums that torch leaves aside."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_tensors(path: Path) -> Any:
    """Return what `torch.save` wrote: tensors and plain values on the CPU.

    Args:
        path: of the file; in torch's form before 1.6 it has no checksums.

    Raises:
        ValueError: a byte is another one than was written, or the archive would unpack to more bytes than it has.
        Exception: torch's own, by the kind of damage.
    """
    if zipfile.is_zipfile(path):
        _verify_checksums(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _verify_checksums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # torch.save never compresses: what unpacks to more than the file has was made to use memory up
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts are larger than the file")
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} does not match its checksum")
