"""The five published benchmarks as one array and one dataset, for tools that expect AdaFace's form of them.

    sets = get_val_data("faces_emore")  # once: reads lfw.bin, agedb_30.bin, …, writes memfiles
    faces = FiveValidationDataset(sets, "faces_emore/concat_validation_memfile")
    image, issame, dataname, index = faces[0]

OAML itself evaluates every set on its own, by any name, and needs neither.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from oaml_core.amounts import amount
from oaml_core.data.prepared.memfile import MemfileWriter, open_memfile
from oaml_core.data.prepared.verification import VerificationSet, open_verification, write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import BENCHMARKS, find_verification, open_verification_source
from oaml_core.errors import DataError
from oaml_core.structured_text import json_or_none

log = logging.getLogger(__name__)

NUMBERS = {"agedb_30": 0, "cfp_fp": 1, "lfw": 2, "cplfw": 3, "calfw": 4}
"""Number of each benchmark in `dataname`; other sets are counted on from 5."""
CONCATENATED = "concat_validation_memfile"
"""Name of the memfile of all sets, as AdaFace calls it."""
LOOKED_AT = 64
"""Images per set whose content tells whether a memfile is still of the same sets."""

Sets = Mapping[str, tuple[NDArray[Any], ArrayLike]]
"""Images [2N, …], pairs in rows 0-1, 2-3, …, and N truths, by the set's name."""


def get_val_data(
    data_path: str | Path, folder: str | Path | None = None, image_size: int = 112
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Prepare the five benchmarks once, as memfiles of their own and as one.

    Args:
        data_path: folder that holds them, in any form that `oaml prepare` reads.
        folder: where memfiles are written; None: `data_path`.
        image_size: side in pixels.

    Returns:
        By name: uint8 [2N, H, W, 3] RGB, memory-mapped, and bool [N]. A benchmark that is absent is named in a warning.

    Raises:
        DataError: none of the five is there, or one is damaged.
    """
    source, target = LocalFolder(Path(data_path)), Path(folder or data_path)
    there = find_verification(source)
    if absent := [name for name in BENCHMARKS if name not in there]:
        log.warning("%s lacks %s of the five published benchmarks", data_path, ", ".join(absent))
    if len(absent) == len(BENCHMARKS):
        raise DataError(f"{data_path} holds none of {', '.join(f'{name}.bin' for name in BENCHMARKS)}.")
    found: dict[str, tuple[NDArray[np.uint8], NDArray[np.bool_]]] = {}
    for name in (name for name in BENCHMARKS if name in there):
        pairs = _prepared(source, name, there[name], target, image_size)
        found[name] = (pairs.images, pairs.issame)
    concatenate(found, target / CONCATENATED)
    return found


def concatenate(sets: Sets, path: str | Path) -> Path:
    """Write the images of all sets one after another into one memfile, unless it holds them already.

    Args:
        sets: of one shape and dtype.
        path: the memfile; `.conf` and `.sets.json` lie beside it.

    Raises:
        DataError: there is no set, or they differ in shape or dtype.
    """
    path = Path(path)
    shapes = {(images.shape[1:], images.dtype) for images, _ in sets.values()}
    if len(shapes) != 1:
        told = ", ".join(f"{name} {images.dtype}{list(images.shape[1:])}" for name, (images, _) in sets.items())
        raise DataError(f"One memfile holds images of one shape and dtype; given are: {told or 'no sets'}.")
    described = path.with_name(path.name + ".sets.json")
    content = {name: _digest(images) for name, (images, _) in sets.items()}
    known = json_or_none(described.read_bytes()) if described.is_file() and path.is_file() else None
    if known != content or len(open_memfile(path)) != sum(len(images) for images, _ in sets.values()):
        ((shape, dtype),) = shapes
        described.unlink(missing_ok=True)
        with MemfileWriter(path, (sum(len(images) for images, _ in sets.values()), *shape), dtype.name) as file:
            for images, _ in sets.values():
                for image in images:
                    file.write(image)
        described.write_text(json.dumps(content))
    return path


class FiveValidationDataset(Dataset[tuple[Tensor, bool, int, int]]):
    """Images of several verification sets one after another, each with its pair's truth and its set's number.

    Args:
        val_data_dict: images and truths by set, as from `get_val_data`.
        concat_mem_file_name: memfile of all; it is written where it is absent or of other sets.

    Raises:
        DataError: a set's images are not twice as many as its truths, or sets differ in shape or dtype.
    """

    def __init__(self, val_data_dict: Sets, concat_mem_file_name: str | Path) -> None:
        others = (name for name in val_data_dict if name not in NUMBERS)
        self.dataname_to_idx = {**NUMBERS, **{name: number for number, name in enumerate(others, start=len(NUMBERS))}}
        """Number of each set in `dataname`."""
        truths, numbers = [], []
        for name, (images, issame) in val_data_dict.items():
            truth = np.asarray(issame, dtype=bool)
            if len(images) != 2 * len(truth):
                raise DataError(
                    f"{name} has {amount(len(images), 'image')} for {amount(len(truth), 'pair')}; each pair needs two."
                )
            truths.append(truth.repeat(2))
            numbers.append(np.full(len(images), self.dataname_to_idx[name]))
        self.all_imgs = open_memfile(concatenate(val_data_dict, concat_mem_file_name))
        self.all_issame = np.concatenate(truths)
        self.all_dataname = np.concatenate(numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, bool, int, int]:
        """Return (image, issame, dataname, index).

        The image is float32 [3, H, W] RGB in [-1, 1] where the memfile holds uint8 [H, W, 3], else what it holds.
        """
        image = torch.tensor(np.array(self.all_imgs[index]))
        if image.dtype == torch.uint8 and image.shape[-1] == 3:
            image = image.permute(2, 0, 1).float() / 127.5 - 1
        return image, bool(self.all_issame[index]), int(self.all_dataname[index]), index

    def __len__(self) -> int:
        return len(self.all_imgs)


def _prepared(source: LocalFolder, name: str, file: str, target: Path, image_size: int) -> VerificationSet:
    """Open the memfile of a set, written anew where it is absent, older than the set, or of another size."""
    written, own = target / f"{name}.dat", source.local(file)
    if not written.is_file() or written.stat().st_mtime < own.stat().st_mtime:
        write_verification(open_verification_source(source, name, file), target, image_size=image_size)
    pairs = open_verification(target, name)
    if pairs.images.shape[1] != image_size and own.resolve() != written.resolve():
        write_verification(open_verification_source(source, name, file), target, image_size=image_size)
        pairs = open_verification(target, name)
    return pairs


def _digest(images: NDArray[Any]) -> str:
    rows = np.unique(np.linspace(0, max(0, len(images) - 1), LOOKED_AT).astype(int))[: len(images)]
    found = hashlib.sha256(f"{images.shape} {images.dtype}".encode())
    for row in rows:
        found.update(np.ascontiguousarray(images[row]).tobytes())
    return found.hexdigest()
