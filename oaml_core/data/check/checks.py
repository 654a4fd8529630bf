"""The checks before training: `oaml check DATA`, and the start of every `prepare`."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.check.alignment import AlignmentSample
from oaml_core.data.check.duplicates import DuplicateFinder
from oaml_core.data.check.findings import findings
from oaml_core.data.check.looked_at import LookedImages
from oaml_core.data.check.report import CheckReport, Duplicate, SetAside
from oaml_core.data.check.scan import Looked, Scanner
from oaml_core.data.check.seen import Seen
from oaml_core.data.prepared.visibility_set import fit_mask
from oaml_core.data.sources.base import Ints
from oaml_core.data.sources.inputs import Inputs, open_folders, open_inputs
from oaml_core.data.sources.visibility import Pair
from oaml_core.decoding.decode import decode_image, decode_mask, fit_square
from oaml_core.errors import DataError
from oaml_core.progress import progress

BLANK_RANGE = 16
"""An image whose brightest and darkest values are closer than this shows nothing."""


class Checks:
    """Looks at all that a source offers, once; what is usable can be written while it passes.

    Call `verification` first, then `training`, then `visibility`, each to its end, then `report`.

    Args:
        inputs: the source, opened.
        config: the whole configuration.
        before_training: batches that cannot be planned stop; False: they are a warning, as what is prepared may be
            trained on with other batches.
        left_out: whether an image of this SHA-256 (hexadecimal) is passed over as if the source did not have it.
    """

    def __init__(
        self,
        inputs: Inputs,
        config: Config,
        *,
        before_training: bool = False,
        left_out: Callable[[str], bool] = lambda sha256: False,
    ) -> None:
        self.inputs = inputs
        self.left_out = left_out
        self.seen = Seen(inputs, config, before_training)
        self.seen.counts = np.zeros(int(inputs.training.labels.max(initial=-1)) + 1, dtype=np.int64)
        self.seen.bad_sets = [str(error) for _, error in inputs.unusable_sets]
        if config.data.subset is None:  # a subset names usable records only
            self.seen.set_aside = [SetAside(name, reason) for name, reason in inputs.training.damaged]
        self.finder = DuplicateFinder()
        self.scanner = Scanner(config.data.image_size, config.data.channel_order, self.finder)
        self.alignment = AlignmentSample(len(inputs.selected), config.data.channel_order)
        self._numbers = array("q")

    def verification_image(self, name: str, number: int, data: bytes, image: NDArray[np.uint8]) -> None:
        """A decoded verification image [H, W, 3]."""
        digest = hashlib.sha256(data).digest()
        self.finder.add_verification(name, number, digest, self.scanner.steps(image))
        self.seen.shown.setdefault(name, {})[number] = int.from_bytes(digest[:8], "little")

    def verification(self) -> None:
        """Look at all verification sets."""
        for pairs in self.inputs.verification:
            number = -1
            try:
                for number, data in enumerate(progress(pairs.read_images(), 2 * len(pairs), f"check {pairs.name}")):
                    size = self.scanner.image_size
                    order = pairs.channel_order or self.scanner.channel_order
                    image = fit_square(decode_image(data, order), size)
                    self.verification_image(pairs.name, number, data, image)
                self.seen.good_sets[pairs.name] = pairs
            except DataError as error:
                self.seen.bad_sets.append(str(pairs.unusable(number, error)))

    def training(self) -> Iterator[tuple[int, Looked]]:
        """Yield all usable training images with their numbers; those set aside are noted."""
        self.finder.close_verification()
        source, chosen = self.inputs.training, self.inputs.selected
        limit = self.seen.config.data.max_images_per_identity
        looked_at = self.scanner.training(source, map(int, chosen))
        for number, looked in progress(looked_at, len(chosen), "check images"):
            label = int(source.labels[number])
            if isinstance(looked, SetAside):
                self.set_aside(looked, label)
            elif self.left_out(looked.sha256.hex()):
                continue
            elif limit is None or self.seen.counts[label] < limit:
                self._count(number, label, looked)
                yield number, looked

    def set_aside(self, image: SetAside, label: int) -> None:
        """Note an image that cannot be used, of the identity `label` by the source's numbers."""
        self.seen.set_aside.append(image)
        self.seen.broken_labels.add(label)

    def held_out(self) -> None:
        """Look at all images of the people who are held out of training, paired or not."""
        for _, looked in self.scanner.training(self.inputs.training, map(int, self.inputs.held_out)):
            if isinstance(looked, SetAside):
                self.seen.held_out_set_aside.append(looked)
            else:
                self.seen.held_out += 1

    def _count(self, number: int, label: int, looked: Looked) -> None:
        seen = self.seen
        seen.images += 1
        seen.counts[label] += 1
        seen.sides[looked.side] += 1
        seen.total += looked.total
        seen.low, seen.high = min(seen.low, looked.low), max(seen.high, looked.high)
        if looked.high - looked.low < BLANK_RANGE:
            seen.blank.append(self.inputs.training.name(number))
        self.finder.add_training(looked.sha256, looked.perceptual)
        self.alignment.add(looked.data)
        self._numbers.append(number)

    def looked_at(self, images: LookedImages) -> NDArray[np.bool_]:
        """Take the next training images that were looked at elsewhere, as `training` takes them one by one.

        Args:
            images: usable ones.

        Returns:
            bool [N]: the images that are used; the others are forgotten, or more than an identity may have.
        """
        seen, labels = self.seen, self.inputs.training.labels
        used = np.array([not self.left_out(digest.tobytes().hex()) for digest in images.digests], dtype=bool)
        used[used] = self._within_limit(labels[images.numbers[used]])
        taken = images.rows(used)
        seen.images += len(taken)
        np.add.at(seen.counts, labels[taken.numbers], 1)
        seen.sides.update(taken.sides.tolist())
        seen.total += taken.totals.sum(axis=0)
        seen.low = min(seen.low, int(taken.lows.min(initial=255)))
        seen.high = max(seen.high, int(taken.highs.max(initial=0)))
        blank = taken.numbers[taken.highs.astype(int) - taken.lows < BLANK_RANGE]
        seen.blank += [self.inputs.training.name(number) for number in blank.tolist()]
        self.finder.add_many(taken.digests, taken.perceptual)
        self._numbers.frombytes(taken.numbers.astype(np.int64).tobytes())
        return used

    def _within_limit(self, labels: Ints) -> NDArray[np.bool_]:
        """Return bool [N]: whether each next image is among the first ones of its identity, as many as it may have."""
        limit = self.seen.config.data.max_images_per_identity
        if limit is None:
            return np.ones(len(labels), dtype=bool)
        order = np.argsort(labels, kind="stable")
        sorted_labels = labels[order]
        first = np.searchsorted(sorted_labels, sorted_labels, side="left")
        within: NDArray[np.bool_] = np.empty(len(labels), dtype=bool)
        within[order] = self.seen.counts[sorted_labels] + np.arange(len(labels)) - first < limit
        return within

    def visibility(self) -> Iterator[tuple[Pair, list[tuple[bytes, bytes]]]]:
        """Yield all usable pairs of a face and its mask, each as it is encoded and its SHA-256."""
        source, seen = self.inputs.visibility, self.seen
        if source is None:
            return
        for pair in progress(source.pairs, len(source.pairs), "check masks"):
            try:
                face, mask = source.folder.read(pair.face), source.folder.read(pair.mask)
                if self.left_out(hashlib.sha256(face).hexdigest()):
                    continue
                self._look_at_pair(face, mask)
            except DataError as error:
                seen.pairs_set_aside.append(SetAside(pair.name, str(error)))
                continue
            seen.visibility_pairs += 1
            yield pair, [(data, hashlib.sha256(data).digest()) for data in (face, mask)]

    def _look_at_pair(self, face: bytes, mask: bytes) -> None:
        image, visible = decode_image(face, self.scanner.channel_order), decode_mask(mask)
        fit_square(image, self.scanner.image_size)
        if image.shape[:2] != visible.shape:
            sizes = f"{image.shape[1]}×{image.shape[0]} and its mask {visible.shape[1]}×{visible.shape[0]}"
            raise DataError(f"the face has {sizes} pixels; they must be the same crop")
        share = float(fit_mask(visible, self.scanner.image_size).mean())
        self.seen.coverage[min(9, int(share * 10))] += 1
        self.seen.grey_masks += bool(((visible > 0) & (visible < 255)).mean() > 0.05)

    def report(self) -> CheckReport:
        """Return the verdict on all that was seen."""
        self._compare()
        seen = self.seen
        return CheckReport(
            source=self.inputs.where,
            findings=[*findings(seen), self.alignment.finding()],
            set_aside=[*self._without_face(), *seen.set_aside, *seen.held_out_set_aside, *seen.pairs_set_aside],
            duplicates=[*seen.duplicates, *seen.twins],
            mask_coverage=seen.coverage.tolist() if seen.visibility_pairs else [],
        )

    def _without_face(self) -> list[SetAside]:
        names = dict.fromkeys([*self.inputs.rejected, *self.inputs.rejected_of_pairs])
        return [SetAside(photograph.name, photograph.reason) for photograph in names]

    def _compare(self) -> None:
        source, seen = self.inputs.training, self.seen
        for row, name, number, distance in self.finder.across():
            image = source.name(self._numbers[row])
            seen.duplicates.append(Duplicate(image, f"{name} image {number}", distance))
        for first, later in self.finder.within_training():
            one, two = self._numbers[first], self._numbers[later]
            seen.twins.append(Duplicate(source.name(one), source.name(two), None))
            people = int(source.labels[one]), int(source.labels[two])
            if people[0] != people[1]:
                seen.shared[people[0], people[1]] += 1


def check_source(source: str | None, config: Config) -> CheckReport:
    """Look at everything that `prepare` would read, and write nothing.

    Args:
        source: folder or `s3://` prefix; None: the faces that would be drawn.

    Raises:
        DataError: there is nothing to look at, or what describes the images is damaged.
    """
    config = replace(config, data=replace(config.data, source=source))
    work = Path(config.work_dir)
    checks = Checks(open_inputs(config, open_folders(config.data, work / "fetched")), config, before_training=True)
    checks.verification()
    for _ in checks.training():
        pass
    checks.held_out()
    for _ in checks.visibility():
        pass
    return checks.report()
