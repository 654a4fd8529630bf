"""One aligned face, and the photograph that it was found in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from oaml_core.errors import ModelInputError
from oaml_core.photos.alignment import POINT_NAMES, Alignment, align_points, cut_out, loose_matrix
from oaml_core.photos.detection import Floats, Photo
from oaml_core.photos.quality import Quality, measure


@dataclass(frozen=True)
class PhotoFace:
    """One face of a photograph."""

    image: Photo
    """uint8 [S, S, 3] RGB, aligned."""
    photo: Photo
    """uint8 [H, W, 3] RGB: where it was found."""
    box: Floats | None
    """[4]: left, top, right, bottom in the photograph; None if the detector did not look or saw none."""
    points: Floats | None
    """[5, 2] in pixels of the photograph."""
    score: float
    """Detector's, in [0, 1]; 1 for faces that were said to be aligned."""
    alignment: Alignment | None
    """None if the image was aligned already and is used as it is."""
    faces: int
    """Faces that were seen in the photograph."""
    habit: Floats | None = None
    """Points of aligned faces as the detector puts them, less the template; None: they are the same."""

    @property
    def quality(self) -> Quality | None:
        """Measurements of the face; None without points."""
        return None if self.points is None else measure(self.image, self.points)

    def points_in_crop(self) -> Floats:
        """Return the points [5, 2] in pixels of the aligned face, where other detectors than this one see them too.

        The detector's habit is taken off, so that they agree with landmarks of other origin; NaN without points.
        """
        size = self.image.shape[0]
        if self.points is None:
            return np.full((5, 2), np.nan)
        at = self.points * (size / self.photo.shape[0]) if self.alignment is None else self.alignment.moved(self.points)
        return at if self.habit is None else at - self.habit * (size / 112)

    def loose_crop(self, size: int = 256) -> Photo:
        """Return the face with hair and chin, upright, for people to look at: the crop of FFHQ.

        Args:
            size: side in pixels.

        Returns:
            uint8 [size, size, 3] RGB, black beyond the photograph; without points the aligned face at that size.
        """
        if self.points is None or self.alignment is None:
            return np.asarray(Image.fromarray(self.image).resize((size, size), Image.Resampling.BICUBIC))
        return cut_out(self.photo, loose_matrix(self.points, size), size)

    def refitted(self, visible: ArrayLike) -> PhotoFace:
        """Return the face aligned again, each point weighing as it is visible.

        Args:
            visible: [5], in [0, 1].
        """
        if self.alignment is None or self.points is None:
            return self
        size = self.image.shape[0]
        alignment = align_points(self.points, visible, size, self.habit)
        return replace(self, image=cut_out(self.photo, alignment.matrix, size), alignment=alignment)

    def __str__(self) -> str:
        if self.alignment is None:
            said = "aligned already"
        else:
            counted = self.alignment.counted
            by = "all five points" if len(counted) == len(POINT_NAMES) else ", ".join(counted)
            said = f"found (score {self.score:.2f}), aligned by {by}"
        others = f", one of {self.faces} faces" if self.faces > 1 else ""
        remarks = [] if self.quality is None else self.quality.remarks
        return "; ".join([said + others, *remarks])


def as_it_is(photo: Photo, path: str | Path, size: int) -> PhotoFace:
    """Return the whole image as an aligned face.

    Args:
        photo: uint8 [H, W, 3] RGB.
        path: what messages call it.
        size: side in pixels of the aligned face.

    Raises:
        ModelInputError: it is not square.
    """
    height, width = photo.shape[:2]
    if height != width:
        raise ModelInputError(
            f"{path} is {width} × {height} pixels; an aligned face is square.", here="Leave --aligned out."
        )
    image = photo
    if height != size:
        resized = Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
        image = np.asarray(resized, dtype=np.uint8)
    return PhotoFace(image, photo, None, None, 1.0, None, 1)
