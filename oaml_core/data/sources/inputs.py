"""Everything that a source offers, opened but not read: training images, verification sets, faces with masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oaml_core.config import Config, DataConfig
from oaml_core.data.sources.base import Ints, SourceFolder, TrainingSource
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.image_list import LISTS, ImageListSource
from oaml_core.data.sources.recordio_source import RECORDS, RecordIOSource
from oaml_core.data.sources.verification import VerificationSource, find_verification, open_verification_source
from oaml_core.data.sources.visibility import VisibilitySource, find_visibility_source
from oaml_core.errors import DataError


@dataclass(frozen=True)
class Inputs:
    """A source, opened."""

    where: str
    training: TrainingSource
    selected: Ints
    """Numbers of the training images that the configuration lets in, in their order."""
    verification: list[VerificationSource]
    unusable_sets: list[tuple[str, DataError]]
    """Verification sets that cannot be opened, each with the reason."""
    visibility: VisibilitySource | None


def open_inputs(config: Config, folder: SourceFolder | None) -> Inputs:
    """Open what a source folder holds, or get ready to draw faces where there is none.

    Raises:
        DataError: there are no training images, or a file that lists or describes them is damaged.
    """
    if folder is None:
        from oaml_core.data.sources.synthetic import SyntheticSource, synthetic_pairs

        drawn = SyntheticSource(config.data, config.seed)
        return Inputs("drawn faces", drawn, select(drawn, config.data), [synthetic_pairs(config)], [], None)
    training = open_training(folder, Path(config.work_dir) / "indices")
    verification, unusable = _open_verification(folder)
    return Inputs(
        folder.uri,
        training,
        select(training, config.data),
        verification,
        unusable,
        find_visibility_source(folder),
    )


def open_training(folder: SourceFolder, cache: Path) -> TrainingSource:
    """The images of a folder and whom they show, in whichever form they lie there; raises DataError if none does."""
    if RECORDS in folder:
        return RecordIOSource(folder, cache)
    if any(name in folder for name in LISTS):
        return ImageListSource(folder)
    return ImageFolderSource(folder)


def _open_verification(folder: SourceFolder) -> tuple[list[VerificationSource], list[tuple[str, DataError]]]:
    opened, unusable = [], []
    for name, file in find_verification(folder).items():
        try:
            opened.append(open_verification_source(folder, name, file))
        except DataError as error:
            unusable.append((name, error))
    return opened, unusable


def select(source: TrainingSource, data: DataConfig) -> Ints:
    """Numbers of the images that `subset` and `min_images_per_identity` let in; never touches an image.

    Raises:
        DataError: nothing is left, or the subset names an image that does not exist.
    """
    chosen = np.arange(len(source))
    if data.subset is not None:
        try:
            lines = Path(data.subset).read_text().split("\n")
        except OSError as error:
            raise DataError(f"data.subset: {data.subset} cannot be read: {error.strerror}.") from None
        chosen = np.unique(source.find([line.strip() for line in lines if line.strip()]))
    labels = source.labels[chosen]
    counts = np.bincount(labels) if len(labels) else np.zeros(1, dtype=np.int64)
    chosen = chosen[counts[labels] >= data.min_images_per_identity]
    if not len(chosen) and len(source):
        raise DataError(
            f"No image is left of {len(source)}: no identity has data.min_images_per_identity "
            f"{data.min_images_per_identity} images among those that data.subset names."
        )
    return chosen
