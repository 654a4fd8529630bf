"""Pictures of a compared pair: the text below is whole, however long it is, and without one nothing is below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.inference.compared_pair import DrawablePair
from oaml_core.inference.drawing import BACKGROUND, FACE, PICTURES, draw_pair, save_pair


def pair() -> DrawablePair:
    face, seen = np.zeros((112, 112, 3), np.uint8), np.ones((7, 7), np.float32)
    return DrawablePair((face, face), (seen, seen), [], (7, 7))


@pytest.mark.parametrize(
    ("caption", "lines"),
    [("one", 1), ("first\nsecond\nthird", 3), ("pairs of one person are accepted " * 6 + "\nend\n" * 2, 5)],
)
def test_every_line_of_the_caption_is_whole(caption: str, lines: int) -> None:
    picture = np.asarray(draw_pair(pair(), caption))[FACE:]
    drawn = np.any(picture != BACKGROUND, axis=2)
    rows, columns = drawn.any(1), drawn.any(0)
    assert not rows[:3].any()
    assert not rows[-3:].any()
    assert not columns[:8].any()
    assert not columns[-8:].any()
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) >= lines


def test_without_a_caption_nothing_is_below_the_faces() -> None:
    assert draw_pair(pair()).height == FACE


@pytest.mark.parametrize("ending", PICTURES)
def test_a_picture_has_the_format_of_its_ending_and_leaves_nothing_beside_it(ending: str, tmp_path: Path) -> None:
    save_pair(pair(), tmp_path / f"pair{ending.upper()}", "a caption")
    (written,) = tmp_path.iterdir()
    with Image.open(written) as picture:
        assert picture.format == {".png": "PNG", ".webp": "WEBP"}.get(ending, "JPEG")
