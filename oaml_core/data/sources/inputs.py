"""Everything that a source offers, opened but not read: training images, verification sets, faces with masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from oaml_core.amounts import amount
from oaml_core.config import Config, DataConfig
from oaml_core.data.sources.aligned import AlignedSource, Aligner, Rejected, aligned_pairs
from oaml_core.data.sources.base import Ints, SourceFile, SourceFolder, TrainingSource, open_folder
from oaml_core.data.sources.held_out import hold_people_out, known_by_name, leave_out_verified
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.image_list import LISTS, ImageListSource
from oaml_core.data.sources.image_parquet import ImageParquetSource, find_image_parquet, holds_images
from oaml_core.data.sources.inventory import entries_of_inventory
from oaml_core.data.sources.joined import WithUnlabelled
from oaml_core.data.sources.labelled_list import TRAINING_LISTS, LabelledListSource, is_labelled_list
from oaml_core.data.sources.leftovers import Leftovers, find_leftovers, relative_to
from oaml_core.data.sources.recordio_source import RECORDS, RecordIOSource
from oaml_core.data.sources.subset import find_subset
from oaml_core.data.sources.verification import find_verification, open_verification_source
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.data.sources.visibility import VisibilitySource, find_visibility_source
from oaml_core.data.sources.webdataset import WebDatasetSource, find_shards
from oaml_core.errors import DataError
from oaml_core.folder_entries import FolderEntry


@dataclass(frozen=True)
class Inputs:
    """An opened source: training images, verification sets and visibility masks."""

    where: str
    training: TrainingSource
    selected: Ints
    """Numbers of the training images that the configuration lets in, in their order."""
    verification: list[VerificationSource]
    unusable_sets: list[tuple[str, DataError]]
    """Verification sets that cannot be opened, each with the reason."""
    visibility: VisibilitySource | None
    notes: tuple[str, ...] = ()
    """What was done or left out for the sake of verification, for the report."""
    held_out: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Numbers of the images of people who are held out of training."""
    leftovers: Leftovers = field(default_factory=Leftovers)
    """Entries of the folders that are not used."""
    rejected: tuple[Rejected, ...] = ()
    """Training photographs without a face, where `data.align` looks for faces."""
    rejected_of_pairs: tuple[Rejected, ...] = ()
    """Photographs of verification sets without a face; their pairs are left out."""
    unproven: str | None = None
    """Why there are no pairs to prove the model with; None: there are some, or none are wanted."""


@dataclass(frozen=True)
class Folders:
    """The folders that a configuration names; one and the same where it names one."""

    training: SourceFolder
    verification: SourceFolder
    visibility: SourceFolder
    unlabelled: SourceFolder | None = None

    def distinct(self) -> dict[str, SourceFolder]:
        """Return each folder once, by what is special in it: empty for that of the training images."""
        apart = {"verification": self.verification, "visibility": self.visibility, "unlabelled": self.unlabelled}
        return {"": self.training} | {
            name: one for name, one in apart.items() if one is not None and one is not self.training
        }


def open_folders(
    data: DataConfig, scratch: Path, listings: Mapping[str, Iterable[SourceFile | FolderEntry]] | None = None
) -> Folders | None:
    """Open the folders of a source; None where faces are drawn.

    Args:
        data: its `source`, `inventory`, `verification_source`, `visibility_source` and `unlabelled_source`.
        scratch: local folder for what is fetched from a store.
        listings: entries of the folders that are listed already, by `Folders.distinct`'s names.

    Raises:
        DataError: a folder is missing, others are named without `data.source`, or the inventory cannot be used.
    """
    if data.source is None:
        for name in ("verification_source", "visibility_source", "unlabelled_source"):
            if getattr(data, name) is not None:
                raise DataError(f"data.{name} is given without data.source: name the training faces too.")
        return None
    known = listings or {}
    training = open_folder(data.source, scratch, known[""]) if "" in known else open_source(data.source, data, scratch)

    def apart(key: str) -> SourceFolder | None:
        source = getattr(data, key)
        listing = known.get(key.removesuffix("_source"))
        return None if source is None else open_folder(source, scratch, listing, key=f"data.{key}")

    return Folders(
        training,
        apart("verification_source") or training,
        apart("visibility_source") or training,
        apart("unlabelled_source"),
    )


def open_source(source: str, data: DataConfig, scratch: Path) -> SourceFolder:
    """Open the folder of the training images, as the inventory lists it where there is one.

    Args:
        source: its address.
        data: its `inventory`.
        scratch: local folder for what is fetched from a store.

    Raises:
        DataError: it is missing, or the inventory cannot be used.
    """
    listing = None if data.inventory is None else entries_of_inventory(data.inventory, source)
    return open_folder(source, scratch, listing)


def open_inputs(config: Config, folders: Folders | None) -> Inputs:
    """Open what the source folders hold, or get ready to draw faces where there are none.

    Raises:
        DataError: there are no training images, or a file that lists or describes them is damaged.
    """
    if folders is None:
        from oaml_core.data.sources.synthetic import SyntheticSource, synthetic_pairs

        drawn = SyntheticSource(config.data, config.seed)
        return Inputs("drawn faces", drawn, select(drawn, config.data), [synthetic_pairs(config)], [], None)
    training = open_training(folders.training, Path(config.work_dir) / "indices")
    verification, unusable = _open_verification(folders.verification)
    opened = Inputs(
        folders.training.uri,
        training,
        select(training, config.data),
        verification,
        unusable,
        find_visibility_source(folders.visibility),
    )
    unlabelled = None
    if folders.unlabelled is not None:
        unlabelled = open_training(folders.unlabelled, Path(config.work_dir) / "indices")
    leftovers = _leftovers(opened, folders, config.data, unlabelled)
    aligner = Aligner(config.data, Path(config.work_dir)) if config.data.align else None
    if aligner is not None:
        opened = _aligned(opened, aligner)
    opened = replace(_apart(opened, folders, config.data), leftovers=leftovers)
    if unlabelled is not None:
        opened = _with_unlabelled(opened, unlabelled, aligner)
    if config.data.visibility_source is not None and opened.visibility is None:
        raise DataError(
            f"data.visibility_source: {folders.visibility.uri} holds neither kept_faces/ nor masks/ with images."
        )
    return opened


def _leftovers(inputs: Inputs, folders: Folders, data: DataConfig, unlabelled: TrainingSource | None) -> Leftovers:
    counted: list[str] = []
    warnings: list[str] = []
    sets = find_verification(folders.verification)
    images = {"": inputs.training, "unlabelled": unlabelled}
    for name, folder in folders.distinct().items():
        verified = folder is folders.verification
        found = find_leftovers(
            folder,
            images.get(name),
            inputs.verification if verified else (),
            [sets[lost] for lost, _ in inputs.unusable_sets] if verified else (),
            inputs.visibility if folder is folders.visibility else None,
            relative_to(folder, data.subset),
        )
        where = f"data.{name}_source: " if name else ""
        counted += [where + sentence for sentence in found.counted]
        warnings += [where + sentence for sentence in found.warnings]
    return Leftovers(tuple(counted), tuple(warnings))


def _aligned(inputs: Inputs, aligner: Aligner) -> Inputs:
    """Put faces in the place of photographs: in the training images, and in pair lists of image files."""
    training = AlignedSource(inputs.training, aligner)
    selected, rejected = training.look_at(inputs.selected)
    verification, notes, of_pairs = [], list(inputs.notes), []
    for pairs in inputs.verification:
        if not pairs.files:  # a .bin holds faces that are aligned
            verification.append(pairs)
            continue
        faces, without = aligned_pairs(pairs, aligner)
        verification.append(faces)
        of_pairs += without
        if len(faces) < len(pairs):
            notes.append(
                f"{len(pairs) - len(faces):,} of {len(pairs):,} pairs of {pairs.name} are left out, as no face was "
                "found in one of their photographs: results do not compare with those of all pairs"
            )
    return replace(
        inputs,
        training=training,
        selected=selected,
        verification=verification,
        notes=tuple(notes),
        rejected=tuple(rejected),
        rejected_of_pairs=tuple(of_pairs),
    )


def _with_unlabelled(inputs: Inputs, unlabelled: TrainingSource, aligner: Aligner | None) -> Inputs:
    """Return the inputs with faces of unknown people, none of whom is verified, behind the training images."""
    chosen, rejected = np.arange(len(unlabelled), dtype=np.int64), inputs.rejected
    if aligner is not None:
        aligned = AlignedSource(unlabelled, aligner)
        chosen, without = aligned.look_at(chosen)
        unlabelled, rejected = aligned, (*rejected, *without)
    added = len(inputs.training) + chosen
    note = f"data.unlabelled_source adds {amount(len(chosen), 'face')}, each as a person of its own"
    return replace(
        inputs,
        training=WithUnlabelled(inputs.training, unlabelled),
        selected=np.concatenate([inputs.selected, added]),
        notes=(*inputs.notes, note),
        rejected=rejected,
    )


def _apart(inputs: Inputs, folders: Folders, data: DataConfig) -> Inputs:
    """Keep the people who are verified out of training; hold some out where nobody is verified."""
    if inputs.verification or inputs.unusable_sets:
        selected, notes = inputs.selected, list[str]()
        if folders.verification is folders.training:
            selected, notes = leave_out_verified(inputs.training, selected, inputs.verification)
        left_out = np.setdiff1d(inputs.selected, selected)
        notes += known_by_name(inputs.training, selected, inputs.verification)
        return replace(inputs, selected=selected, held_out=left_out, notes=(*inputs.notes, *notes))
    if folders.verification is not folders.training:
        raise DataError(
            f"data.verification_source: {folders.verification.uri} holds no .bin set and no pair list "
            f"(<name>_pairs.csv, pairs.txt)."
        )
    if not data.held_out_share:
        return inputs
    held = hold_people_out(inputs.training, inputs.selected, data)
    if held.pairs is None:
        return replace(inputs, unproven=held.note)
    return replace(
        inputs,
        selected=held.selected,
        held_out=held.left_out,
        verification=[held.pairs],
        notes=(*inputs.notes, held.note),
    )


def open_training(folder: SourceFolder, cache: Path) -> TrainingSource:
    """Return the images of a folder and whom they show, in whichever form they lie there; raises DataError if none
    does.
    """
    if RECORDS in folder:
        return RecordIOSource(folder, cache)
    parquet = find_image_parquet(folder)
    if LISTS[0] not in folder and parquet and holds_images(folder, parquet[0]):
        return ImageParquetSource(folder)
    if any(name in folder for name in LISTS):
        return ImageListSource(folder)
    if parquet:
        return ImageParquetSource(folder)  # which names the columns that it lacks
    if find_shards(folder):
        return WebDatasetSource(folder)
    if listed := next((name for name in TRAINING_LISTS if name in folder and is_labelled_list(folder, name)), None):
        return LabelledListSource(folder, listed)
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
    """Return numbers of the images that `subset` and `min_images_per_identity` let in; never touches an image.

    Raises:
        DataError: nothing is left, or the subset names an image that does not exist.
    """
    chosen = np.arange(len(source))
    if data.subset is not None:
        chosen = find_subset(source, Path(data.subset))
    labels = source.labels[chosen]
    counts = np.bincount(labels) if len(labels) else np.zeros(1, dtype=np.int64)
    chosen = chosen[counts[labels] >= data.min_images_per_identity]
    if not len(chosen) and len(source):
        raise DataError(
            f"No image is left of {len(source)}: no identity has data.min_images_per_identity "
            f"{amount(data.min_images_per_identity, 'image')} among those that data.subset names."
        )
    return chosen
