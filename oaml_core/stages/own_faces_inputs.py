"""Inputs of an evaluation on one's own faces: model, images, pair lists, and how the work is shared out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.errors import DataError, EvaluationError
from oaml_core.settings import digest
from oaml_core.stages.addresses import fetch_file
from oaml_core.stages.evaluate_shards import SharedScoring
from oaml_core.stages.evaluation_inputs import best_device, device_name
from oaml_core.store import open_store
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from oaml_core.data.prepared.verification import VerificationSet
    from oaml_core.data.sources.base import SourceFolder, TrainingSource
    from oaml_core.evaluation.own_faces.shards import SharedFolder
    from oaml_core.evaluation.scoring.face_store import FaceArrays, FaceStore
    from oaml_core.evaluation.scoring.score_parts import ScoredSet
    from oaml_core.evaluation.scoring.shard_parts import ShardParts
    from oaml_core.training.trained import TrainedModel

log = logging.getLogger(__name__)


class ReadableFaces(NamedTuple):
    """Images of a folder that can be decoded."""

    numbers: NDArray[np.int64]
    names: list[str]
    identities: NDArray[np.int64]
    set_aside: list[dict[str, str]]
    """The others, each with the reason."""
    sha256: list[str]
    """SHA-256 of each image's content, hexadecimal."""
    content: str
    """Digest of the names, identities and contents of all images, hexadecimal."""


@dataclass(frozen=True)
class OwnFacesInputs:
    """A model, and a folder of faces that it is measured on."""

    config: Config
    """With the sections of model and data that the model was trained by."""
    source: str
    trained: TrainedModel
    """Model of the checkpoint; its recogniser is on the best device."""
    sha256: str
    """Digest of the checkpoint."""
    folder: SourceFolder
    files: Mapping[str, str]
    """File of each verification set, by the set's name."""
    people: TrainingSource | None
    """Images and who they show; None: pair lists alone are there."""
    out: Path
    """Folder of the results."""

    @classmethod
    def open(cls, config: Config, source: str, checkpoint_uri: str) -> OwnFacesInputs:
        """Open checkpoint and folder; arguments and errors as of `evaluate_own_faces`."""
        from oaml_core.data.sources.base import open_folder
        from oaml_core.data.sources.verification import find_verification
        from oaml_core.training.trained import load_trained

        checkpoint = fetch_file(config, checkpoint_uri)
        trained = load_trained(checkpoint)
        config = replace(config, model=trained.config.model, data=trained.config.data)
        path, sha256 = PurePosixPath(source), sha256_of(checkpoint)
        is_list = path.suffix == ".csv"
        beside = source[: -len(path.name)] or "." if is_list else source
        folder = open_folder(beside, _scratch(config), key="--faces")
        files = {path.stem.removesuffix("_pairs"): path.name} if is_list else find_verification(folder)
        people = None if is_list else _identities(folder, config, needed=not files)
        out = Path(config.work_dir) / "own" / f"{path.stem}-{digest(config.evaluate, source, sha256)}"
        trained.recogniser.to(best_device())
        return cls(config, source, trained, sha256, folder, files, people, out)

    @property
    def out_of_pairs(self) -> Path:
        """Folder of the results of pair lists."""
        return self.out if self.people is None else self.out / "pairs"

    @cached_property
    def faces(self) -> ReadableFaces:
        """Images that can be decoded.

        Raises:
            EvaluationError: none can.
        """
        assert self.people is not None
        source, found = self.people, hashlib.sha256()
        readable, set_aside, sha256 = [], [], []
        for index in range(len(source)):
            told = ""  # of an image that cannot be read at all
            try:
                content = source.read(index)
                told = hashlib.sha256(content).hexdigest()
                self._decoded(content)
                readable.append(index)
                sha256.append(told)
            except DataError as error:
                set_aside.append({"image": source.name(index), "reason": str(error)})
            named = f"{source.name(index)}\0{source.identity_name(source.labels[index])}\0{told}\n"
            found.update(named.encode(errors="surrogateescape"))
        if not readable:
            raise EvaluationError(f"None of {len(source)} images can be read; the first: {set_aside[0]['reason']}.")
        numbers = np.array(readable)
        names = [source.name(index) for index in readable]
        return ReadableFaces(numbers, names, source.labels[numbers], set_aside, sha256, found.hexdigest())

    @cached_property
    def sets(self) -> dict[str, VerificationSet]:
        """Verification sets by name."""
        return dict(open_sets(self.folder, self.files, self.config, self.out_of_pairs / "images"))

    @contextmanager
    def described(self) -> Iterator[FaceStore]:
        """Features of all readable images, for as long as the block lasts."""
        from oaml_core.evaluation.scoring.face_store import described

        count = len(self.faces.numbers)
        self.out.mkdir(parents=True, exist_ok=True)
        images, chosen = self._images(slice(0, count)), self.config.evaluate.batch_size
        with described(self.trained.recogniser, images, count, best_device(), self.out, chosen) as faces:
            yield faces

    def _room(self) -> AbstractContextManager[FaceStore]:
        """Open room for the features of all readable images."""
        from oaml_core.evaluation.scoring.face_store import face_store

        self.out.mkdir(parents=True, exist_ok=True)
        return face_store(self.trained.recogniser, len(self.faces.numbers), best_device(), self.out)

    def _describe(self, rows: slice) -> FaceArrays:
        """Return features of some readable images."""
        from oaml_core.evaluation.scoring.face_store import describe

        chosen = self.config.evaluate.batch_size
        return describe(self.trained.recogniser, self._images(rows), best_device(), chosen)

    def _images(self, rows: slice) -> Iterator[NDArray[np.uint8]]:
        assert self.people is not None
        return (self._decoded(self.people.read(index)) for index in self.faces.numbers[rows])

    def _decoded(self, content: bytes) -> NDArray[np.uint8]:
        from oaml_core.decoding.decode import decode_image, fit_square

        data = self.config.data
        return fit_square(decode_image(content, data.channel_order), data.image_size)

    def shared_folder(self, shards: int) -> SharedFolder:
        """Share all pairs of the folder and its searches out.

        Raises:
            ConfigError: the number of shards is below 1. EvaluationError: there are no genuine or no impostor pairs.
        """
        from oaml_core.evaluation.own_faces.descriptions import Descriptions
        from oaml_core.evaluation.own_faces.shards import SharedFolder

        assert self.people is not None
        faces, chosen = self.faces, self.config.evaluate
        parts = self._parts("faces", shards, faces.content, digest(chosen))
        people = (self.people.identity_name(label) for label in faces.identities)
        shown = [" ".join(told) for told in zip(faces.names, people, faces.sha256, strict=True)]
        descriptions = Descriptions(self._describe, shown, parts, device_name())
        return SharedFolder(self._room, descriptions, faces.names, faces.identities, chosen, parts, device_name())

    def shared_pairs(self, shards: int) -> SharedScoring:
        """Share the pairs of the verification sets out; raises ConfigError for a number of shards below 1."""
        from oaml_core.evaluation.scoring.conditions import cutouts_digest
        from oaml_core.evaluation.scoring.identities import content_of
        from oaml_core.evaluation.verdict.evaluate import conditions_for, cutout_folder, score_set

        chosen, conditions = self.config.evaluate, conditions_for(self.config)
        content = digest({name: content_of(pairs) for name, pairs in self.sets.items()})
        settings = digest(chosen, cutouts_digest(chosen.occluders, cutout_folder(self.config)))
        parts = self._parts("face-pairs", shards, content, settings)

        def score(pairs: VerificationSet, rows: slice) -> ScoredSet:
            model = self.trained.recogniser
            return score_set(model, pairs, conditions, self.config, best_device(), rows=rows)

        return SharedScoring(self.sets, [each.name for each in conditions], parts, score)

    def _parts(self, kind: str, shards: int, content: str, settings: str) -> ShardParts:
        from oaml_core.evaluation.scoring.shard import EvaluationShard
        from oaml_core.evaluation.scoring.shard_parts import ShardParts

        EvaluationShard(0, shards)
        inputs = {"checkpoint": self.sha256, "faces": content, "settings": settings}
        versions = {f"{name}'s version": version(name) for name in ("oaml", "torch", "numpy")}
        store = open_store(self.config.store)
        return ShardParts(store, f"{kind}-{digest(inputs)}", shards, inputs | versions, "oaml evaluate")


def _scratch(config: Config) -> Path:
    return Path(config.work_dir) / "indices"


def _identities(folder: SourceFolder, config: Config, *, needed: bool) -> TrainingSource | None:
    """Return the folder's images and who they show; None if it has none beside its pair lists, and they are not
    `needed`.
    """
    from oaml_core.data.sources.inputs import open_training

    try:
        return open_training(folder, _scratch(config))
    except DataError as error:
        if not needed:
            log.info("evaluate: pair lists alone: %s", error)
            return None
        raise DataError(
            f"{folder.uri} holds neither one folder per identity nor a pair list (<name>_pairs.csv with the columns "
            f"first, second, same) nor a .bin set: {error}"
        ) from error


def open_sets(
    folder: SourceFolder, files: Mapping[str, str], config: Config, images: Path
) -> Iterator[tuple[str, VerificationSet]]:
    """Yield verification sets by name, opened as they lie in a source.

    Args:
        folder: the source.
        files: file of each set, by the set's name.
        config: its `data` says how images are read.
        images: local folder to write the decoded images to.
    """
    from oaml_core.data.prepared.verification import open_verification, write_verification
    from oaml_core.data.sources.verification import open_verification_source

    for name, file in files.items():
        source = open_verification_source(folder, name, file)
        write_verification(source, images, image_size=config.data.image_size, channel_order=config.data.channel_order)
        yield name, open_verification(images, name)
