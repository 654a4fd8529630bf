"""Writes the files of a prepared data set, and sends them."""

from __future__ import annotations

import json
import logging
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.check.checks import Checks
from oaml_core.data.check.report import CheckReport
from oaml_core.data.prepare.forgotten import ForgottenImages
from oaml_core.data.prepare.outbox import Outbox
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepared.manifest import Manifest
from oaml_core.data.prepared.streamed_parts import RecordPlace
from oaml_core.data.prepared.verification import write_verification
from oaml_core.data.prepared.visibility_set import is_validation
from oaml_core.data.prepared.without_pairs import leave_pairs_out
from oaml_core.data.sources.base import Ints
from oaml_core.data.sources.inputs import Inputs
from oaml_core.errors import DataError

log = logging.getLogger(__name__)

TRAIN = "train"
"""Folder of the training images in a data set."""


class PackedImages(NamedTuple):
    """Training images that lie in parts."""

    numbers: Ints
    """int64 [N]: numbers in the source."""
    places: Ints
    """int64 [N, 3]: part, offset, size."""
    sides: NDArray[np.int32]
    """int32 [N]: pixels of each side as the image is encoded."""


def pack_images(checks: Checks, outbox: Outbox) -> PackedImages:
    """Look at all training images, write those that can be used into parts, and send these."""
    numbers, places, sides = array("q"), array("q"), array("i")
    with PartWriter(outbox.folder / TRAIN, outbox.send) as writer:
        for number, looked in checks.training():
            numbers.append(number)
            places.extend(writer.add(looked.data, looked.sha256))
            sides.append(looked.side)
    return PackedImages(
        np.array(numbers, dtype=np.int64),
        np.array(places, dtype=np.int64).reshape(-1, 3),
        np.array(sides, dtype=np.int32),
    )


class Packer:
    """Writes and sends what the checks let pass.

    Args:
        inputs: the source, opened.
        config: the whole configuration.
        outbox: where files go.
        forgotten: images that no data set may hold.
        pack_images: how the training images get into parts.
    """

    def __init__(
        self,
        inputs: Inputs,
        config: Config,
        outbox: Outbox,
        forgotten: ForgottenImages,
        pack_images: Callable[[Checks, Outbox], PackedImages] = pack_images,
    ) -> None:
        self._pack_images = pack_images
        self.inputs = inputs
        self.config = config
        self.outbox = outbox
        self.forgotten = forgotten
        self.checks = Checks(inputs, config, left_out=forgotten.has)
        self.pairs: dict[str, int] = {}
        """Pairs of each verification set that were written."""

    def pack(self, fingerprint: str, settings: dict[str, object]) -> Manifest:
        """Write and send everything but the manifest, which is returned."""
        self.verification()
        identities, images = self._training()
        self.checks.held_out()
        self._visibility()
        report = self._judged()
        seen = self.checks.seen
        return Manifest(
            fingerprint=fingerprint,
            source_kind=self.inputs.training.kind,
            image_size=self.config.data.image_size,
            channel_order=self.config.data.channel_order,
            images=images,
            identities=identities,
            verification=self.pairs,
            visibility_pairs=seen.visibility_pairs,
            set_aside=len(seen.set_aside),
            images_looked_at=seen.images + len(seen.set_aside),
            warnings=report.warnings,
            settings=settings,
            files=self.outbox.files,
        )

    def _judged(self) -> CheckReport:
        report = self.checks.report()
        log.info("%s", report.table())
        path = self.outbox.folder / "checks.json"
        path.write_text(report.to_json())
        if report.must_not_train:
            kept = Path(self.config.work_dir) / "checks.json"
            shutil.copyfile(path, kept)
            raise DataError(f"Training must not start on this data set ({kept}): {' '.join(report.reasons)}")
        self.outbox.send(path)
        return report

    def verification(self) -> None:
        """Write and send the verification sets."""
        folder = self.outbox.folder / "verification"
        seen = self.checks.seen
        for pairs in self.inputs.verification:
            gone = np.zeros(len(pairs), dtype=bool)

            def watch(
                name: str, number: int, data: bytes, image: NDArray[np.uint8], gone: NDArray[np.bool_] = gone
            ) -> None:
                if self.forgotten and self.forgotten.shows(data, image):
                    gone[number // 2] = True
                else:
                    self.checks.verification_image(name, number, data, image)

            try:
                written = write_verification(
                    pairs,
                    folder,
                    image_size=self.config.data.image_size,
                    channel_order=self.config.data.channel_order,
                    watch=watch,
                )
            except DataError as error:
                seen.bad_sets.append(str(error))
                continue
            seen.good_sets[pairs.name] = pairs
            if gone.any():
                written = leave_pairs_out(folder, pairs.name, gone)
            if written:
                self.pairs[pairs.name] = int((~gone).sum())
            for path in written:
                self.outbox.send(path)

    def _training(self) -> tuple[list[str], int]:
        """Return names of the identities by their new labels, and the number of images."""
        folder = self.outbox.folder / TRAIN
        packed = self._pack_images(self.checks, self.outbox)
        labels = self.inputs.training.labels[packed.numbers]
        enough = self.checks.seen.counts[labels] >= self.config.data.min_images_per_identity
        used, contiguous = np.unique(labels[enough], return_inverse=True)
        _write_index(folder, packed.places[enough])
        np.save(folder / "labels.npy", contiguous.astype(np.int64))
        np.save(folder / "sources.npy", packed.numbers[enough])
        if (landmarks := self.inputs.training.landmarks) is not None:
            scale = (self.config.data.image_size / packed.sides[enough]).astype(np.float32)
            np.save(folder / "landmarks.npy", landmarks[packed.numbers[enough]] * scale[:, None, None])
        self.outbox.send_all(folder)
        return [self.inputs.training.identity_name(int(label)) for label in used], int(enough.sum())

    def _visibility(self) -> None:
        if self.inputs.visibility is None:
            return
        folder = self.outbox.folder / "visibility"
        places: list[RecordPlace] = []
        names: list[str] = []
        with PartWriter(folder, self.outbox.send) as writer:
            for pair, looked in self.checks.visibility():
                places += [writer.add(data, digest) for data, digest in looked]
                names.append(pair.name)
        if not names:
            return
        _write_index(folder, np.array(places, dtype=np.int64).reshape(-1, 2, 3))
        np.save(folder / "validation.npy", np.array([is_validation(name) for name in names]))
        (folder / "names.json").write_text(json.dumps(names))
        self.outbox.send_all(folder)


def _write_index(folder: Path, places: np.ndarray) -> None:
    """`places` int64 [..., 3]: part, offset, size."""
    np.save(folder / "parts.npy", places[..., 0].astype(np.int32))
    np.save(folder / "offsets.npy", np.ascontiguousarray(places[..., 1]))
    np.save(folder / "sizes.npy", places[..., 2].astype(np.int32))
