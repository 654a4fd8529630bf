"""Features of a folder's images, which the shards of its evaluation describe together and share through the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from oaml_core.amounts import amount
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.face_features import FaceFeatures
from oaml_core.evaluation.scoring.face_store import RUN, FaceArrays, FaceStore
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.evaluation.scoring.shard_parts import ShardPart, ShardParts

log = logging.getLogger(__name__)

SHOWN = "shown"
"""Array of a part that says whom it describes, as bytes of text, so that `oaml forget` finds people in it."""


class Descriptions:
    """Features of n images, as the store has them.

    Args:
        describe: describes the images of some rows.
        shown: [n], what tells an image and whom it shows: names and the SHA-256 of its content.
        parts: of the shards.
        device: name of the device that describes.
    """

    def __init__(
        self, describe: Callable[[slice], FaceArrays], shown: Sequence[str], parts: ShardParts, device: str
    ) -> None:
        self._describe, self._shown, self._parts, self._device = describe, shown, parts, device

    def rows(self, shard: EvaluationShard) -> slice:
        """Return a shard's share of the images: whole runs."""
        return shard.rows(len(self._shown), RUN)

    def fill(self, faces: FaceStore, shards: Sequence[EvaluationShard]) -> set[str]:
        """Put the features of all images into `faces`; images that no process has described are described here.

        The images of these shards come first. Those of others follow, last ones first: they are taken over from
        processes that are slower, or were never started, and nobody waits for them.

        Args:
            faces: has room for n faces.
            shards: those that this process makes.

        Returns:
            Names of the devices that described the images.

        Raises:
            EvaluationError: a description is of another model, list or version, or lacks features. StoreError: it is
                damaged.
        """
        others, devices, here = [], set[str](), 0
        for owner, rows in self._in_turn(shards):
            if self._parts.has(_name(rows), owner):
                others.append((owner, rows))
                continue
            began = time.perf_counter()
            found = self._describe(rows)
            shown = np.frombuffer("\n".join(self._shown[rows]).encode(errors="surrogateescape"), np.uint8)
            part = ShardPart({**found, SHOWN: shown}, rows, time.perf_counter() - began, self._device)
            self._parts.write(_name(rows), owner, part)
            faces.put(rows.start, found)
            devices.add(self._device)
            here += rows.stop - rows.start
        for owner, rows in others:
            devices.add(self._fetch(faces, owner, rows))
        log.info("%s described here, of %d", amount(here, "image"), len(self._shown))
        return devices

    def _in_turn(self, shards: Sequence[EvaluationShard]) -> Iterator[tuple[EvaluationShard, slice]]:
        """Yield all runs and the shards that they are of, in the order in which this process looks after them."""
        for shard in shards:
            yield from ((shard, rows) for rows in self._runs(shard))
        everyone = EvaluationShard.all(self._parts.of)
        first = shards[-1].number + 1
        for shard in (*everyone[first:], *everyone[:first]):
            if shard not in shards:
                yield from ((shard, rows) for rows in reversed(self._runs(shard)))

    def _runs(self, shard: EvaluationShard) -> list[slice]:
        share = self.rows(shard)
        return [slice(start, min(start + RUN, share.stop)) for start in range(share.start, share.stop, RUN)]

    def _fetch(self, faces: FaceStore, owner: EvaluationShard, rows: slice) -> str:
        """Bring the features of a run that was described before; return the name of the device."""
        part = self._parts.read(_name(rows), owner, rows)
        try:
            if any(len(part.arrays[name]) not in (0, rows.stop - rows.start) for name in FaceFeatures._fields):
                raise ValueError
            faces.put(rows.start, part.arrays)
        except (KeyError, ValueError):
            where = self._parts.store.url(self._parts.key(_name(rows), owner))
            raise EvaluationError(f"{where} lacks features of its images. {self._parts.remedy(owner)}") from None
        return part.device


def _name(rows: slice) -> str:
    return f"described-{rows.start // RUN:06d}"
