"""All pairs of a set, streamed: what whole arrays would give, in memory that does not grow with the pairs."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics import all_pairs, binned, largest
from oaml_core.evaluation.statistics.all_pairs import PairStream, all_pairs_roc, upper_blocks
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, percentiles
from oaml_core.evaluation.statistics.roc import auc, eer, roc, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED

RATES = (1e-1, 1e-2, 1e-3, 1e-9)


def embeddings(identities: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(identities.max() + 1, 16))
    rows = centres[identities] + generator.normal(0, noise, (len(identities), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def streamed(matrix: np.ndarray, identities: np.ndarray, block: int = 17):
    return all_pairs_roc(lambda rows, columns: matrix[rows, columns], identities, RATES, block=block)


def whole(matrix: np.ndarray, identities: np.ndarray):
    upper = np.triu_indices(len(identities), 1)
    return matrix[upper], (identities[:, None] == identities)[upper]


@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("block", [17, 1000])
def test_agrees_with_the_roc_of_all_scores_at_once(block, digits):
    identities = np.random.default_rng(1).integers(0, 25, 120)
    rows = embeddings(identities, 0.7)
    matrix = rows @ rows.T
    matrix = matrix if digits is None else matrix.round(digits)  # with ties, and with −0
    found, curve = streamed(matrix, identities, block), roc(*whole(matrix, identities))

    assert (found.genuine, found.impostors) == (curve.genuine, curve.impostors)
    for ours, theirs in zip(found.tar_at_far, tar_at_far(curve, RATES), strict=True):
        assert (ours.tar, ours.measured_far) == (theirs.tar, theirs.measured_far)
    assert abs(found.auc.value - auc(curve)) <= found.auc.error + 1e-12
    assert found.auc.error < (0.2 if digits else 1e-3)
    if digits is None:
        assert abs(found.eer.value - eer(curve)) <= found.eer.error + 1 / curve.genuine
    assert sum(found.histogram["genuine"]) == curve.genuine
    assert sum(found.histogram["impostor"]) == curve.impostors


def test_intervals_are_those_of_a_bootstrap_of_all_pairs(monkeypatch):
    identities = np.random.default_rng(3).integers(5, 45, 200)
    rows = embeddings(identities, 0.8)
    matrix = rows @ rows.T
    upper = np.triu_indices(200, 1)
    scores, same = whole(matrix, identities)
    first, second = (np.unique(identities, return_inverse=True)[1][side] for side in upper)
    drawn = IdentityBootstrap(first, second, same, np.random.default_rng(SEED)).tar_at_far(scores, RATES[:3])
    expected = [percentiles(column) for column in drawn.T]

    def intervals():
        stream = PairStream.of(identities, RATES, intervals=True)
        for some, others in upper_blocks(200, 64):
            stream.add(matrix[some, others], some, others)
        return stream.finish().tar_intervals

    assert intervals() == [*expected, None]
    # Where only the highest impostors are kept with their identities, smaller rates have the same intervals.
    monkeypatch.setattr(all_pairs, "NAMED", 1000)
    assert intervals() == [None, *expected[1:], None]
    assert streamed(matrix, identities).tar_intervals == [None] * 4


def test_every_point_of_the_curve_was_measured():
    identities = np.random.default_rng(2).integers(0, 12, 80)
    rows = embeddings(identities, 1.0)
    matrix = rows @ rows.T
    scores, same = whole(matrix, identities)
    curve = streamed(matrix, identities).roc
    assert (np.diff(curve.far) >= 0).all()
    assert (np.diff(curve.tar) >= 0).all()
    for far, tar, threshold in zip(curve.far, curve.tar, curve.threshold, strict=True):
        accepted = scores >= threshold
        assert accepted[~same].mean() == pytest.approx(far)
        assert accepted[same].mean() == pytest.approx(tar)


def test_perfect_and_tied_scores():
    identities = np.repeat(np.arange(10), 3)
    same = (identities[:, None] == identities).astype(np.float32)
    perfect, tied = streamed(same, identities), streamed(np.zeros_like(same), identities)
    assert perfect.auc.value == 1
    assert perfect.eer.value == pytest.approx(0)
    assert [point.tar for point in perfect.tar_at_far] == [1.0, 1.0, None, None]
    assert tied.auc.value == 0.5
    assert tied.tar_at_far[0].tar == 0


def test_one_class_missing_broken_scores_and_rates_are_named():
    matrix = np.zeros((6, 6), dtype=np.float32)
    with pytest.raises(EvaluationError, match="no two images show the same person"):
        streamed(matrix, np.arange(6))
    with pytest.raises(EvaluationError, match="all images show one person"):
        streamed(matrix, np.zeros(6, dtype=int))
    matrix[1, 4] = np.nan
    with pytest.raises(EvaluationError, match="images 1 and 4 is NaN"):
        streamed(matrix, np.array([0, 0, 1, 1, 2, 2]))
    with pytest.raises(EvaluationError, match=r"FAR 0\.5 cannot be reported"):
        all_pairs_roc(lambda r, c: matrix[r, c], np.array([0, 0, 1, 1, 2, 2]), [0.5])


def test_beyond_what_is_kept_the_stated_error_holds_the_truth(monkeypatch):
    monkeypatch.setattr(all_pairs, "EXACT", 40)
    monkeypatch.setattr(binned, "BIN_BITS", 14)  # coarse bins: errors that show
    identities = np.random.default_rng(1).integers(0, 25, 120)
    rows = embeddings(identities, 0.9)
    matrix = rows @ rows.T
    scores, same = whole(matrix, identities)
    truth = tar_at_far(roc(scores, same), RATES)
    found = streamed(matrix, identities)
    assert found.tar_errors[0] > 0
    assert found.tar_errors[2] == 0  # accepts 6 of 6,800 impostors
    for ours, error, true in zip(found.tar_at_far, found.tar_errors, truth, strict=True):
        assert ours.measurable == true.measurable
        if ours.tar is None or true.tar is None:
            continue
        assert ours.tar <= true.tar <= ours.tar + error + 1e-12
        # The threshold is one that really has this FAR, and no more than was asked for.
        assert (scores[~same] >= ours.threshold).mean() == pytest.approx(ours.measured_far)
        assert ours.measured_far <= ours.far
    asked = all_pairs_roc(lambda r, c: matrix[r, c], identities, RATES, exact_far=0.1)
    assert asked.tar_errors == [0, 0, 0, 0]
    assert [point.tar for point in asked.tar_at_far] == [point.tar for point in truth]


def test_three_scores_of_a_hundred_thousand_images_fit_into_a_gibibyte():
    def bound(images: int, **others: float) -> int:
        return PairStream.of(np.arange(images) // 10, (1e-1, 1e-3, 1e-6), **others).memory_bound()

    assert 3 * bound(100_000, intervals=True) < 2**30
    # What grows is linear, the genuine scores; exact figures have their price where they are asked for.
    assert bound(100_000) - bound(50_000) < 2**25
    assert bound(100_000, exact_far=0.1) > 8 * 2**30


def test_what_is_really_allocated_stays_within_the_bound(monkeypatch):
    for module, name, value in ((all_pairs, "EXACT", 40_000), (binned, "BIN_BITS", 10), (largest, "ROOM", 10_000)):
        monkeypatch.setattr(module, name, value)
    peaks = {}
    for images in (1000, 2000):
        rows = embeddings(np.arange(images) // 10, 0.8)
        stream = PairStream.of(np.arange(images) // 10, (1e-1, 1e-3))
        tracemalloc.start()
        for some, others in upper_blocks(images, 128):
            stream.add(rows[some] @ rows[others].T, some, others)
        stream.finish()
        peaks[images] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peaks[images] < stream.memory_bound() + 2**20  # one block
    # Four times as many pairs; without a bound 150,000 scores more in tail and curve.
    assert peaks[2000] - peaks[1000] < 2**20


@pytest.mark.parametrize("cuts", [(), (1,), (2, 5), (0, 3, 3, 10)])
def test_streams_of_some_blocks_make_one_of_all(cuts, monkeypatch):
    """Scores of few values: what is kept of equal ones must not depend on who met them first."""
    monkeypatch.setattr(all_pairs, "EXACT", 40)
    monkeypatch.setattr(all_pairs, "NAMED", 250)
    monkeypatch.setattr(largest, "ROOM", 3)
    generator = np.random.default_rng(4)
    identities = generator.integers(0, 9, 31)
    scores = (generator.integers(0, 12, (31, 31)) / 8).astype(np.float32)
    blocks = list(all_pairs.upper_blocks(31, 8))

    def stream():
        return all_pairs.PairStream.of(identities, [0.1, 0.02], intervals=True)

    whole, merged = stream(), stream()
    for rows, columns in blocks:
        whole.add(scores[rows, columns], rows, columns)
    edges = [0, *cuts, len(blocks)]
    for start, stop in itertools.pairwise(edges):
        part = stream()
        for rows, columns in blocks[start:stop]:
            part.add(scores[rows, columns], rows, columns)
        merged.take_in(part.arrays())
    one, other = whole.finish(), merged.finish()
    assert one.tar_intervals[0] is not None
    for name in ("tar_at_far", "tar_errors", "tar_intervals", "auc", "eer", "histogram"):
        assert getattr(one, name) == getattr(other, name), name
    np.testing.assert_array_equal(one.roc.tar, other.roc.tar)
    np.testing.assert_array_equal(one.roc.threshold, other.roc.threshold)


def test_a_stream_that_lacks_blocks_has_no_figures():
    identities = np.repeat(np.arange(4), 3)
    stream = all_pairs.PairStream.of(identities, [0.1])
    stream.add(np.zeros((8, 8), np.float32), slice(0, 8), slice(0, 8))
    with pytest.raises(ValueError, match="not all blocks"):
        stream.finish()
