"""Whether training faces are aligned as the template wants, by a sample that the face detector looks at."""

from __future__ import annotations

from typing import Literal

import numpy as np

from oaml_core.data.check.report import Finding
from oaml_core.decoding.decode import decode_image
from oaml_core.photos.alignment import template_distance
from oaml_core.photos.detection import Detector
from oaml_core.photos.faces import ENOUGH, ON_TEMPLATE
from oaml_core.photos.search import find_faces

LOOKED_AT = 24
"""Images that are looked at, evenly through the source."""
SEEN = 0.5
"""Score from which on a face counts as seen."""
FEWEST = 0.25
"""Share of these images that must show a face; below it nothing is said of their alignment."""
REMEDY = "set data.align true, or make aligned faces by `oaml align FOLDER OUT` (docs/photos.md)"


class AlignmentSample:
    """Distances of detected points from the template, in a sample of images.

    Args:
        total: images that will pass.
        channel_order: how they decode.
        detector: any; None: YuNet.
    """

    def __init__(self, total: int, channel_order: Literal["rgb", "bgr"], detector: Detector | None = None) -> None:
        self._step = max(1, -(-total // LOOKED_AT))
        self._channel_order, self._detector = channel_order, detector
        self._passed, self._looked_at = 0, 0
        self.distances: list[float] = []
        """Root mean square distance per image with a face, in pixels of a 112 × 112 crop."""

    def add(self, data: bytes) -> None:
        """Let an image pass; every so many-th is looked at.

        Args:
            data: a square image as it is encoded.
        """
        if self.pass_by(1):
            self.look(data)

    def pass_by(self, count: int) -> list[int]:
        """Let images pass unseen, and return the places among them of those to `look` at."""
        first = -self._passed % self._step
        self._passed += count
        return list(range(first, count, self._step))

    def look(self, data: bytes) -> None:
        """Look at one image, as it is encoded."""
        if self._detector is None:
            from oaml_core.photos.yunet import YuNet

            self._detector = YuNet()
        self._looked_at += 1
        image = decode_image(data, self._channel_order)
        found = find_faces(image, self._detector, enough=ENOUGH)
        if len(found) and found.scores[0] >= SEEN:
            self.distances.append(template_distance(found.points[0], image.shape[0], self._detector.habit))

    def finding(self) -> Finding:
        """Return the line of the report."""
        seen = f"faces seen in {len(self.distances)} of {self._looked_at} images looked at"
        if len(self.distances) <= FEWEST * self._looked_at:
            return Finding("alignment", f"{seen}: not judged")
        median = float(np.median(self.distances))
        result = f"{seen}, median {median:.1f} of 112 pixels from the template"
        if median <= ON_TEMPLATE:
            return Finding("alignment", result)
        return Finding("alignment", result, "warning", f"Faces lie within {ON_TEMPLATE:g} if aligned: {REMEDY}")
