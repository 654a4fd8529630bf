"""Restore an image that somebody has: its noise known or estimated, its covered pixels marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from oaml_core.amounts import amount
from oaml_core.config import RestorationConfig
from oaml_core.decoding.decode import decode_mask
from oaml_core.decoding.files import read_image, read_image_bytes
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import ConfigError, DataError
from oaml_core.folder_entries import regular_files
from oaml_core.printable_names import file_spelling
from oaml_core.progress import progress
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.face_tiles import to_image, to_tile
from oaml_core.restoration.measurement import (
    Composition,
    GaussianBlur,
    Identity,
    LowResolution,
    Measurement,
    Noise,
    Operator,
)
from oaml_core.restoration.metrics import chi_square
from oaml_core.restoration.noise_estimation import noise_of_image, noise_of_pair
from oaml_core.restoration.report_pictures import uncertainty_tile
from oaml_core.restoration.restore import restore
from oaml_core.whole_file import written_whole

PIECE, OVERLAP = 256, 32
"""Side of the pieces that a large image is restored in, and by how many pixels they overlap at least: memory does not
grow with the image."""
RESULTS = ("_restored.png", "_uncertainty.png")
"""Endings of what is made of an image."""


@dataclass(frozen=True)
class Restored:
    """A restored image: its files, the noise that was estimated and how well it explains the image."""

    image: Path
    uncertainty: Path
    noise: Noise
    chi_square: float
    """χ² of the posterior mean; far above 1: the measurement is not what was assumed."""

    def __str__(self) -> str:
        return (
            f"noise variance {self.noise.a:.3g}·signal + {self.noise.b:.3g}; χ² a pixel {self.chi_square:.2f}\n"
            f"{self.image}\n{self.uncertainty}"
        )


def build_operator(low_resolution: int = 1, blur: float = 0.0) -> Operator:
    """Blur by `blur` pixels, then means of low_resolution² pixels; the identity for 0 and 1.

    Raises:
        ConfigError: either is smaller than that.
    """
    if low_resolution < 1 or blur < 0:
        raise ConfigError(
            f"--low-resolution {low_resolution} and --blur {blur:g}: at least 1 and 0, which change nothing."
        )
    steps: list[Operator] = [GaussianBlur(blur)] if blur > 0 else []
    steps += [LowResolution(low_resolution)] if low_resolution > 1 else []
    if len(steps) == 1:
        return steps[0]
    return Composition(tuple(steps)) if steps else Identity()


def restore_image(
    prior: Denoiser,
    path: Path,
    out: Path,
    config: RestorationConfig,
    *,
    operator: Operator | None = None,
    mask: Path | None = None,
    second_shot: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    name: str | None = None,
) -> Restored:
    """Write the posterior mean as `<name>_restored.png` and its deviation as `<name>_uncertainty.png`, each by rename.

    Args:
        prior: what clean images look like.
        path: the measured image.
        out: folder.
        config: of the sampling; `noise_a` and `noise_b`, or None to estimate them.
        operator: what was measured; None: every pixel.
        mask: image of the same size, white = visible, black = covered.
        second_shot: the same scene once more: the noise is estimated from both, the first is restored.
        name: beginning of the results' names; None: that of the image without its ending.

    Raises:
        ModelInputError: the image cannot be read.
        DataError: the mask is no image, or sizes do not fit.
    """
    operator = operator or Identity()
    observed = _read(path)
    seen = None if mask is None else _read_mask(mask, observed, path)
    try:
        noise = _noise(observed, seen, config, second_shot)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    measured = Measurement(observed, operator, noise, seen)
    height, width = _scene_size(operator, observed)
    multiple = 2 ** (len(config.channel_mult) - 1)
    if isinstance(operator, Identity):
        mean, deviation = _in_pieces(prior, measured, multiple, config, seed, device)
    else:
        if height % multiple or width % multiple:
            raise DataError(f"{path}: the scene has {width} × {height} pixels; crop so that they divide by {multiple}.")
        mean, deviation, _ = restore(prior, measured, (3, height, width), config, seed=seed, device=device)
    out.mkdir(parents=True, exist_ok=True)
    restored, uncertainty = (out / f"{name or path.stem}{ending}" for ending in RESULTS)
    for file, tile in ((restored, mean[0]), (uncertainty, uncertainty_tile(deviation[0]))):
        with written_whole(file) as partial:
            Image.fromarray(to_image(tile)).save(partial, format="PNG")
    return Restored(restored, uncertainty, noise, float(chi_square(measured, mean)[0]))


def _read(path: Path) -> Tensor:
    """[1, 3, H, W] in [-1, 1]."""
    return to_tile(torch.from_numpy(read_image(path).copy()).permute(2, 0, 1))[None]


def _read_mask(path: Path, observed: Tensor, image: Path) -> Tensor:
    try:
        mask = decode_mask(read_image_bytes(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if mask.shape != tuple(observed.shape[2:]):
        (tall, wide), (height, width) = mask.shape, observed.shape[2:]
        raise DataError(
            f"{path} has {wide} × {tall} pixels, and {image} {width} × {height}. Give a mask of the image's size."
        )
    return torch.from_numpy(mask.astype(np.float32) / 255)[None, None]


def _noise(observed: Tensor, seen: Tensor | None, config: RestorationConfig, second_shot: Path | None) -> Noise:
    if config.noise_a is not None and config.noise_b is not None:
        return Noise(config.noise_a, config.noise_b)
    if second_shot is not None:
        return noise_of_pair(observed, _read(second_shot))
    return noise_of_image(observed, seen)


def _scene_size(operator: Operator, observed: Tensor) -> tuple[int, int]:
    scene = operator.adjoint(torch.zeros_like(observed))
    return int(scene.shape[2]), int(scene.shape[3])


def _in_pieces(
    prior: Denoiser, measured: Measurement, multiple: int, config: RestorationConfig, seed: int, device: str
) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [1, 3, H, W] from pieces that overlap and are blended there."""
    height, width = measured.observed.shape[2:]
    wide = _divisible(measured, multiple)
    tall, broad = wide.observed.shape[2:]
    total, sums = torch.zeros(1, 1, tall, broad), torch.zeros(2, 3, tall, broad)
    places = [(y, x) for y in _starts(tall) for x in _starts(broad)]
    for top, left in progress(places, len(places), "restoring"):
        here = (..., slice(top, top + PIECE), slice(left, left + PIECE))
        seen = None if wide.visibility is None else wide.visibility[here]
        piece = Measurement(wide.observed[here], wide.operator, wide.noise, seen)
        mean, deviation, _ = restore(prior, piece, tuple(piece.observed.shape[1:]), config, seed=seed, device=device)
        weight = _ramp(mean.shape[2])[:, None] * _ramp(mean.shape[3])
        total[here] += weight
        sums[here] += weight * torch.cat([mean, deviation])
    blended = (sums / total)[..., :height, :width]
    return blended[:1], blended[1:]


def _divisible(measured: Measurement, multiple: int) -> Measurement:
    """Reflected at its right and lower border until its sides divide; what is reflected counts as measured."""
    height, width = measured.observed.shape[2:]
    if min(height, width) < multiple:
        raise DataError(f"An image of {width} × {height} pixels is too small; {multiple} is the least side.")
    sides = (0, -width % multiple, 0, -height % multiple)
    seen = measured.visibility
    return Measurement(
        functional.pad(measured.observed, sides, mode="reflect"),
        measured.operator,
        measured.noise,
        None if seen is None else functional.pad(seen, sides, mode="reflect"),
    )


def _starts(length: int) -> list[int]:
    """Return where pieces begin: they overlap by at least `OVERLAP`, and the last one ends with the image."""
    return [*range(0, max(1, length - PIECE), PIECE - OVERLAP), *([length - PIECE] if length > PIECE else [])]


def _ramp(length: int) -> Tensor:
    """Return weights [length] that fall towards both ends over `OVERLAP` pixels."""
    places = torch.arange(length)
    return ((torch.minimum(places, places.flip(0)) + 1) / OVERLAP).clamp(max=1)


def names_of_results(pictures: Sequence[Path]) -> dict[Path, str]:
    """Return how the results of each picture begin; those of earlier runs among the pictures have none.

    Args:
        pictures: images of one folder. Where several differ by their ending alone, it stays in the name, so that none
            takes the other's results.
    """
    known = [picture for picture in pictures if not _is_result(picture, pictures)]
    stems = Counter(file_spelling(picture.name) for picture in known)
    return {picture: picture.stem if stems[file_spelling(picture.name)] == 1 else picture.name for picture in known}


def _is_result(picture: Path, pictures: Sequence[Path]) -> bool:
    """Return True if a picture is what an earlier run made of another one."""
    beginnings = {picture.name.removesuffix(ending) for ending in RESULTS if picture.name.endswith(ending)}
    return any(other.stem in beginnings or other.name in beginnings for other in pictures)


def pictures_at(path: Path, others: Collection[str] = ()) -> list[Path]:
    """Return the image itself, or all images in a folder, by name.

    Args:
        path: image or folder.
        others: further endings of files, in lower case, that are wanted.

    Raises:
        DataError: there is none.
    """
    if not path.is_dir():
        return [path]
    below = regular_files(path, IMAGE_SUFFIXES | set(others))
    found = [file for file in below if file.parent == path]
    if below and not found:
        lie = amount(len(below), "image lies", "images lie")
        raise DataError(
            f"{path} holds no image itself; {lie} in folders within it. Name one of these: {below[0].parent}."
        )
    if not found:
        raise DataError(f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES | set(others)))}).")
    return found
