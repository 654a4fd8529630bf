"""Parts of a streamed data set, fetched ahead of the plan for all workers of a node."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import numpy as np

from oaml_core.data.batches.plan import BatchSampler
from oaml_core.data.prepared.dataset import FaceDataset

log = logging.getLogger(__name__)
BLOCK = 16
"""Batches of the plan that are looked at together, so that no second plan is held."""


class PartsAhead:
    """Tells the node's process that brings parts what the plan still wants; it is started with the first plan.

    Args:
        sampler: plans the batches.
        faces: training images; their parts come into its folder.
        node: ranks of the workers on this node.
        limit: bytes that data sets may take beside one another; None: what the volume has.
    """

    def __init__(self, sampler: BatchSampler, faces: FaceDataset, node: range, limit: int | None) -> None:
        self.sampler = sampler
        self.faces = faces
        self.node = node
        self.limit = limit
        self._filler: subprocess.Popen[str] | None = None

    @classmethod
    def of(cls, sampler: BatchSampler, faces: FaceDataset, node: range | None, limit: int | None) -> PartsAhead | None:
        """Return what brings parts; None where all are here, or another worker of the node has them brought.

        Args:
            sampler, faces, limit: as of the class.
            node: ranks of the workers on this node; None: another one works for them, or nobody does.
        """
        return cls(sampler, faces, node, limit) if node is not None and faces.streamed else None

    def wanted(self) -> dict[str, list[int]]:
        """Return the parts that the rest of the epoch wants here: `order`, by the first image, and `needs`, in images.

        Visibility batches, which take images from all of the set, do not count.
        """
        slices = [self.sampler.slice_of(rank) for rank in self.node]
        plan = self.sampler.epoch_plan()[self.sampler.next_batch :, slices[0].start : slices[-1].stop]
        needs: dict[int, int] = {}
        for first in range(0, len(plan), BLOCK):
            parts = self.faces.parts_of(plan[first : first + BLOCK].ravel())
            found, places, counts = np.unique(parts, return_index=True, return_counts=True)
            for number in np.argsort(places):
                part = int(found[number])
                needs[part] = needs.get(part, 0) + int(counts[number])
        return {"order": list(needs), "needs": list(needs.values())}

    def tell(self) -> None:
        """Tell what is wanted from the sampler's position on; without the process images are read one by one."""
        if self._filler is None or self._filler.poll() is not None:
            folder = str(self.faces.folder.parent)
            limit = [] if self.limit is None else ["--limit", str(self.limit)]
            self._filler = subprocess.Popen(
                [sys.executable, "-m", "oaml_core.data.prepared.part_filler", folder, *limit],
                stdin=subprocess.PIPE,
                text=True,
                env=os.environ | {"TQDM_DISABLE": "1"},  # the terminal is the training's
                process_group=0,  # signals to the workers' group are not for it: it ends with its input
            )
        assert self._filler.stdin is not None
        try:
            self._filler.stdin.write(json.dumps(self.wanted()) + "\n")
            self._filler.stdin.flush()
        except BrokenPipeError:
            log.warning("The process that brings parts has ended; it is started again with the next epoch.")

    def close(self) -> None:
        """End the process; parts that are here stay."""
        if self._filler is not None:
            self._filler.kill()  # its input has other holders: the processes that decode
            self._filler.communicate()
            self._filler = None
