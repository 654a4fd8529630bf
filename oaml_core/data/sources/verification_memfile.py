"""Verification sets as memory-mapped arrays: those that AdaFace's tools write, and those that `oaml prepare` writes.

AdaFace keeps `<name>/memfile/mem_file.dat` beside `mem_file.dat.conf` (JSON with `shape` and `dtype`): float32
[2N, 3, H, W], BGR in [-1, 1] (`convert.py`, `evaluate_utils.py` of https://github.com/mk-minchul/AdaFace). OAML keeps
`<name>.dat`: uint8 [2N, H, W, 3], RGB. `<name>_list.npy` holds the truth, [N] booleans, for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.array_files import plain_type, read_array
from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.verification_source import Bools, VerificationSource
from oaml_core.decoding.formats import MAX_PIXELS
from oaml_core.errors import DataError
from oaml_core.structured_text import parse_json

MEMFILE = PurePosixPath("memfile/mem_file.dat")
TRUTH_SUFFIX = "_list.npy"
REMEDY = "Make the memfile again."


def memfile_set(folder: SourceFolder, file: str) -> str | None:
    """Return the name of the set whose truth or images this file is; None where it is neither.

    A `<name>_list.npy` stands for a set of which no images are there in a form that is read.
    """
    path = PurePosixPath(file)
    if path.parts[-2:] == MEMFILE.parts and len(path.parts) > 2:
        return path.parts[-3]
    if path.suffix == ".dat" and f"{file}.conf" in folder:
        return path.stem
    if file.endswith(TRUTH_SUFFIX):
        return path.name.removesuffix(TRUTH_SUFFIX)
    return None


def open_memfile_set(folder: SourceFolder, name: str, file: str) -> VerificationSource:
    """Open a memfile; images are read one at a time.

    Args:
        folder: the source.
        name: of the set.
        file: the array, or `<name>_list.npy` where there is none.

    Raises:
        DataError: truth or images are missing, damaged, or do not fit together.
    """
    path = PurePosixPath(file)
    if file.endswith(TRUTH_SUFFIX):
        raise DataError(
            f"{folder.where(file)} says which pairs of {name} show one person, and their images are not there in a "
            f"form that is read (bcolz is not). Copy {name}.bin there, or the folder {name}/{MEMFILE.parent}."
        )
    beside = path.parents[2] if path.parts[-2:] == MEMFILE.parts else path.parent
    truth = (beside / f"{name}{TRUTH_SUFFIX}").as_posix()
    issame = _truth(folder, truth)
    shape, dtype = _layout(folder, file, len(issame))
    size = int(np.prod(shape[1:])) * dtype.itemsize

    def images() -> Iterator[bytes]:
        for row in range(shape[0]):
            data = folder.read_range(file, row * size, size)
            if len(data) != size:
                raise DataError(f"{folder.where(file)} ends within image {row}. {REMEDY}")
            yield _portable(np.frombuffer(data, dtype).reshape(shape[1:]), f"{folder.where(file)} image {row}")

    used = (file, f"{file}.conf", truth)
    return VerificationSource(name, folder.where(file), issame, lambda: None, images, channel_order="rgb", used=used)


def _truth(folder: SourceFolder, file: str) -> Bools:
    if file not in folder:
        raise DataError(f"{folder.where(file)} is missing: it says which pairs show one person. Copy it too.")
    truth = read_array(folder.read(file), folder.where(file), REMEDY, DataError)
    if truth.ndim != 1 or not len(truth) or truth.dtype.kind not in "bui" or not np.isin(truth, (0, 1)).all():
        raise DataError(f"{folder.where(file)} must hold one true or false per pair. {REMEDY}")
    return np.asarray(truth, dtype=bool)


def _layout(folder: SourceFolder, file: str, pairs: int) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Return shape and type that the description announces, if they are one of the two forms and fit the file."""
    described = f"{file}.conf"
    if described not in folder:
        raise DataError(f"{folder.where(described)} is missing: it says the shape of the array. Copy it too.")
    conf = parse_json(folder.read(described), folder.where(described), REMEDY, DataError)
    try:
        shape, dtype = tuple(map(int, conf["shape"])), plain_type(conf["dtype"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{folder.where(described)} needs `shape` and `dtype` ({error!r}). {REMEDY}") from None
    planes = len(shape) == 4 and shape[1] == 3 and dtype == np.float32
    pixels = len(shape) == 4 and shape[3] == 3 and dtype == np.uint8
    if not (planes or pixels) or min(shape) < 1 or shape[2] * shape[3 if planes else 1] > MAX_PIXELS:
        raise DataError(
            f"{folder.where(described)} announces {dtype}{list(shape)}; float32 [2N, 3, H, W] and uint8 [2N, H, W, 3] "
            "are read."
        )
    if shape[0] != 2 * pairs:
        raise DataError(
            f"{folder.where(file)} has {amount(shape[0], 'image')} for {amount(pairs, 'pair')}; each needs two. "
            f"{REMEDY}"
        )
    wanted = int(np.prod(shape)) * dtype.itemsize
    if folder.files[file].size != wanted:
        raise DataError(
            f"{folder.where(file)} has {amount(folder.files[file].size, 'byte')}, {wanted:,} announced. {REMEDY}"
        )
    return shape, dtype


def _portable(image: NDArray[np.generic], where: str) -> bytes:
    """Return an image as binary PPM, which loses nothing and costs nothing to write."""
    if image.dtype == np.float32:
        levels = np.asarray(image, dtype=np.float32)
        if not np.isfinite(levels).all() or np.abs(levels).max() > 1.001:
            raise DataError(f"{where} has values outside [-1, 1]. {REMEDY}")
        image = np.rint((levels[::-1].transpose(1, 2, 0) * 0.5 + 0.5) * 255).clip(0, 255).astype(np.uint8)
    return b"P6 %d %d 255\n" % (image.shape[1], image.shape[0]) + np.ascontiguousarray(image).tobytes()
