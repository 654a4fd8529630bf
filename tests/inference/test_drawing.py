"""The text below a compared pair is whole, however long it is."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.inference.compared_pair import DrawablePair
from oaml_core.inference.drawing import BACKGROUND, FACE, draw_pair


@pytest.mark.parametrize(
    ("caption", "lines"),
    [("one", 1), ("first\nsecond\nthird", 3), ("pairs of one person are accepted " * 6 + "\nend\n" * 2, 5)],
)
def test_every_line_of_the_caption_is_whole(caption: str, lines: int) -> None:
    face, seen = np.zeros((112, 112, 3), np.uint8), np.ones((7, 7), np.float32)
    picture = np.asarray(draw_pair(DrawablePair((face, face), (seen, seen), [], (7, 7)), caption))[FACE:]
    drawn = np.any(picture != BACKGROUND, axis=2)
    rows, columns = drawn.any(1), drawn.any(0)
    assert not rows[:3].any()
    assert not rows[-3:].any()
    assert not columns[:8].any()
    assert not columns[-8:].any()
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) >= lines
