"""From five points to a standard crop: a similarity transform fitted to the points that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from oaml_core.errors import ModelInputError
from oaml_core.photos.detection import Floats, Photo

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Five points of a 112 × 112 crop (width × height): the template of ArcFace, Deng et al., CVPR 2019."""
POINT_NAMES = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
"""Left and right of the picture."""
EYES = (0, 1)
ROBUST = 0.06
"""Residual, as a share of the crop's side, from which on a point loses weight (Huber)."""


@dataclass(frozen=True)
class Alignment:
    """The movement that brings a face to the template."""

    matrix: Floats
    """[2, 3]: (x, y, 1) of the photograph to (x, y) of the crop; rotation, one scale, and shift."""
    weights: Floats
    """[5], in [0, 1]: how much each point counted in the fit."""
    error: float
    """Weighted root mean square distance of the moved points from the template, in pixels of the crop."""

    @property
    def counted(self) -> tuple[str, ...]:
        """Names of the points with at least half of the largest weight."""
        return tuple(
            name for name, weight in zip(POINT_NAMES, self.weights, strict=True) if weight >= 0.5 * self.weights.max()
        )

    def moved(self, points: ArrayLike) -> Floats:
        """Return points [n, 2] of the photograph in the crop's pixels."""
        return np.asarray(points, dtype=np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]


def template(size: int | tuple[int, int] = 112) -> Floats:
    """Return the template [5, 2] for a crop of `size`: 112, 224 or another side, or (height, width) as (112, 96).

    A narrower crop cuts both sides by the same amount, as the 112 × 96 template of SphereFace does.
    """
    height, width = (size, size) if isinstance(size, int) else size
    scale = height / 112
    result: Floats = TEMPLATE * scale + np.array([(width - 112 * scale) / 2, 0.0])
    return result


def align_points(
    points: ArrayLike,
    visible: ArrayLike | None = None,
    size: int | tuple[int, int] = 112,
    habit: ArrayLike | None = None,
) -> Alignment:
    """Fit the similarity transform from five points to the template.

    Points weigh as they are visible. A point far from where the others put it weighs less (Huber, six rounds of
    reweighted least squares). With fewer than two points visible the two eyes are used.

    Args:
        points: [5, 2] in pixels of the photograph; see `Detections.points`.
        visible: [5], in [0, 1]; None: all are.
        size: of the crop, see `template`.
        habit: [5, 2], where the detector puts the points in crops that are aligned, less the template, in pixels of
            a 112 × 112 crop; None: where the template has them.

    Raises:
        ModelInputError: a point is not finite, or all that count lie in one place.
    """
    source, target = np.asarray(points, dtype=np.float64), template(size)
    if source.shape != (5, 2) or not np.isfinite(source).all():
        raise ModelInputError(f"The points are {source.shape}, or not finite; five (x, y) are needed.")
    base = np.ones(5) if visible is None else np.clip(np.asarray(visible, dtype=np.float64), 0, 1)
    if np.count_nonzero(base > 0.2) < 2:
        base = np.zeros(5)
        base[list(EYES)] = 1
    height = size if isinstance(size, int) else size[0]
    if habit is not None:
        target = target + np.asarray(habit) * height / 112
    weights = base
    for _ in range(6):
        matrix = similarity(source, target, weights)
        distance = np.linalg.norm(source @ matrix[:, :2].T + matrix[:, 2] - target, axis=1)
        weights = base * np.minimum(1.0, ROBUST * height / np.maximum(distance, 1e-9))
    error = float(np.sqrt(np.average(distance**2, weights=weights)))
    return Alignment(matrix, weights, error)


def loose_matrix(points: ArrayLike, size: int) -> Floats:
    """Return the crop of FFHQ: upright, with hair and chin, for people to look at; recognisers want `align_points`.

    With e from eye to eye, m from the eyes' middle to the mouth's, and ⟂ a quarter turn: half the side lies along
    x = e − ⟂m, as long as max(2 |e|, 1.8 |m|); the middle lies a tenth of m below the eyes' (Karras, Laine, Aila:
    "A Style-Based Generator Architecture for GANs", CVPR 2019, and its published alignment).

    Args:
        points: [5, 2] in pixels of the photograph; see `Detections.points`.
        size: side of the crop in pixels.

    Returns:
        [2, 3], photograph to crop, for `cut_out`.

    Raises:
        ModelInputError: a point is not finite, or all lie in one place.
    """
    at = np.asarray(points, dtype=np.float64)
    if at.shape != (5, 2) or not np.isfinite(at).all():
        raise ModelInputError(f"The points are {at.shape}, or not finite; five (x, y) are needed.")
    eyes, mouth, between = at[:2].mean(0), at[3:].mean(0), at[1] - at[0]
    down = mouth - eyes
    along = between + np.array([down[1], -down[0]])
    reach = max(2.0 * float(np.hypot(*between)), 1.8 * float(np.hypot(*down)))
    length = float(np.hypot(*along))
    if length < 1e-6:
        raise ModelInputError("The points of the face lie in one place; no crop can be made of them.")
    half = along / length * reach
    middle = eyes + 0.1 * down
    source = np.stack([middle - half, middle + half])
    return similarity(source, np.array([[0.0, size / 2], [float(size), size / 2]]), np.ones(2))


def similarity(source: Floats, target: Floats, weights: Floats) -> Floats:
    """Fit rotation, one scale and shift by weighted least squares (Umeyama, PAMI 1991, in the plane).

    With z and t the centred points as complex numbers, the factor a = Σ w z̄ t / Σ w |z|² turns and scales at once.

    Args:
        source: [n, 2].
        target: [n, 2].
        weights: [n], at least two above 0.

    Returns:
        [2, 3], (x, y, 1) of the source to (x, y) of the target.

    Raises:
        ModelInputError: the points that count lie in one place.
    """
    share = weights / weights.sum()
    from_centre, to_centre = share @ source, share @ target
    z, t = (source - from_centre) @ [1, 1j], (target - to_centre) @ [1, 1j]
    spread = float(share @ np.abs(z) ** 2)
    if spread < 1e-9:
        raise ModelInputError("The points of the face lie in one place; no crop can be made of them.")
    factor = complex((share * np.conj(z) * t).sum() / spread)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([turn, (to_centre - turn @ from_centre)[:, None]], axis=1)


def template_distance(points: ArrayLike, side: int, habit: ArrayLike) -> float:
    """Return how far five points of a square image lie from where an aligned face has them.

    Args:
        points: [5, 2] in pixels of the image.
        side: of the image in pixels.
        habit: of the detector, see `Detector.habit`.

    Returns:
        Root mean square distance in pixels of a 112 × 112 crop.
    """
    expected = template(side) + np.asarray(habit) * side / 112
    return float(np.sqrt(((np.asarray(points) - expected) ** 2).sum(1).mean()) * 112 / side)


def cut_out(photo: Photo, matrix: Floats, size: int | tuple[int, int] = 112) -> Photo:
    """Return the crop of a photograph that `matrix` describes; what lies outside of it is black.

    A large face is averaged down first, so that it keeps no aliases.

    Args:
        photo: uint8 [H, W, 3] RGB.
        matrix: [2, 3], photograph to crop.
        size: of the crop, see `template`.

    Returns:
        uint8 [height, width, 3] RGB.
    """
    height, width = (size, size) if isinstance(size, int) else size
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ inverse.T
    low = np.clip(np.floor(corners.min(0)).astype(int) - 4, 0, None)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 4, [photo.shape[1], photo.shape[0]])
    if np.any(high - low < 1):
        return np.zeros((height, width, 3), np.uint8)
    part = Image.fromarray(np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]]))
    # Templates give coordinates of pixel centres, Pillow takes those of pixel corners: half a pixel apart.
    offset = inverse[:, 2] - low + 0.5 - inverse[:, :2] @ [0.5, 0.5]
    inverse = np.column_stack([inverse[:, :2], offset])
    factor = int(np.hypot(*inverse[:, 0]))
    if factor > 1:
        part = part.reduce(factor)
        inverse = inverse / factor
    coefficients = tuple(float(value) for value in inverse.ravel())
    crop = part.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return np.asarray(crop, dtype=np.uint8)
