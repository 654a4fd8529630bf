"""Many embeddings are searched by short codes: the right ones are found, also after changes, and nothing is left."""

from __future__ import annotations

import numpy as np
import pytest

from oaml_core.inference.gallery import vectors
from oaml_core.inference.gallery.shortlist import Shortlist, can_shorten
from oaml_core.inference.gallery.vectors import Vectors

pytestmark = pytest.mark.skipif(not can_shorten(), reason="faiss is not installed: pip install 'oaml[fast]'")
SIZE = 64


def unit(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, SIZE)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def near(rows: np.ndarray, cosine: float) -> np.ndarray:
    noise = unit(len(rows), 9)
    mixed = cosine * rows + np.sqrt(1 - cosine**2) * noise
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "SHORTENED_FROM", 2000)


def filled(count: int = 3000, *, exact: bool = False) -> tuple[Vectors, np.ndarray]:
    rows, found = unit(count, 0), Vectors(SIZE, exact=exact)
    found.add(np.arange(count) + 7, rows)
    return found, rows


def test_those_that_are_near_are_found_with_exact_scores() -> None:
    found, rows = filled()
    probes = near(rows[:200], 0.6)
    keys, scores = found.nearest(probes, 20)
    exact = filled(exact=True)[0].nearest(probes, 20)[0]
    assert keys[:, 0].tolist() == exact[:, 0].tolist()
    np.testing.assert_allclose(scores, np.einsum("pd,pkd->pk", probes, rows[keys - 7]), atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert keys.shape == (200, 20)


def test_after_faces_come_and_go_each_is_found_by_its_own_embedding() -> None:
    found, rows = filled()
    found.prepare()
    gone = [7, 8, 1507, 3006]
    found.remove(gone)
    more = unit(500, 1)
    found.add(np.arange(500) + 10_000, more)
    found.remove([10_000])
    held = {key: row for key, row in zip(range(7, 3007), rows, strict=True) if key not in gone}
    held |= {10_000 + place: more[place] for place in range(1, 500)}
    keys, _ = found.nearest(np.stack(list(held.values())), 1)
    assert keys[:, 0].tolist() == list(held)
    assert len(found) == len(held)


def test_codes_of_what_was_removed_are_overwritten() -> None:
    rows = unit(1000, 0)
    short = Shortlist(rows)
    before = short._packer.unpack_1(short._blocks(), 3)
    for _ in range(len(rows)):
        short.replace_by_last(0)
    assert before.any()
    assert len(short) == 0
    assert not short._blocks().any()


def test_few_are_compared_exactly() -> None:
    found, rows = filled(1999)
    found.prepare()
    assert found.memory == 1999 * (4 * SIZE + 8)
    probes = near(rows[:50], 0.2)
    expected = np.argsort(-(probes @ rows.T), axis=1)[:, :30] + 7
    assert (found.nearest(probes, 30)[0] == expected).all()
