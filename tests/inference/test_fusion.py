"""The fusion of evidence, against its formulas written out for single pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oaml_core.inference.fusion import FREE, SLOPES, Evidence, Fusion, pair_quality, region_shares, region_weights

FUSION = Fusion(
    global_mean=0.1,
    global_std=0.2,
    local_mean=5.0,
    local_std=4.0,
    quality_mean=3.0,
    quality_std=0.5,
    free=(-1.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    global_slopes=(1.0, 2.0, 3.0, 4.0, 0.1, 0.2, 0.3, 0.4, 0.7),
    local_slopes=(0.5, 1.5, 2.5, 3.5, 0.6, 0.8, 1.1, 1.3, 0.9),
    impostor_location=(-2.0, 0.3, 0.1, 0.4, 0.2, 0.6),
    impostor_log_scale=(0.2, 0.05, 0.15, 0.1, 0.25, 0.35),
)
REGIONS = (0.2, 0.9, 0.6, 0.5)


def by_hand(global_score: float, local_score: float, regions: tuple[float, ...], quality: float) -> tuple[float, float]:
    """Return the ratio and the score of a pair; `quality` is in deviations from the mean, within ± 3."""
    context = [1.0, *regions, quality]
    basis = [*regions, *(1.0 - share for share in regions), (quality / 3.0 + 1.0) / 2.0]
    one, other = (global_score - 0.1) / 0.2, (local_score - 5.0) / 4.0
    ratio = math.fsum(w * x for w, x in zip(FUSION.free, context, strict=True))
    ratio += one * math.fsum(w * x for w, x in zip(FUSION.global_slopes, basis, strict=True))
    ratio += other * math.fsum(w * x for w, x in zip(FUSION.local_slopes, basis, strict=True))
    location = math.fsum(w * x for w, x in zip(FUSION.impostor_location, context, strict=True))
    scale = math.exp(math.fsum(w * x for w, x in zip(FUSION.impostor_log_scale, context, strict=True)))
    return ratio, (ratio - location) / scale


@pytest.mark.parametrize(
    ("norm", "deviations"),
    [(3.25, 0.5), (2.0, -2.0), (4.4, 2.8), (9.0, 3.0), (-7.0, -3.0), (math.nan, 0.0)],
    ids=["above the mean", "below it", "within the range", "bounded above", "bounded below", "not known"],
)
def test_ratio_and_score_are_those_of_the_formulas(norm: float, deviations: float) -> None:
    evidence = Evidence(np.array([0.45]), np.array([-2.0]), np.array([REGIONS]), np.array([norm]))
    ratio, score = by_hand(0.45, -2.0, REGIONS, deviations)
    np.testing.assert_allclose(FUSION.log_likelihood_ratio(evidence), [ratio], rtol=1e-12)
    np.testing.assert_allclose(FUSION.score(evidence), [score], rtol=1e-12)
    assert FUSION.context(evidence).shape == (1, FREE)
    assert FUSION.regressors(evidence).shape == (1, FREE + 2 * SLOPES)


def test_shares_beyond_0_and_1_count_as_these() -> None:
    beyond, bounded = (
        Evidence(np.zeros(1), np.zeros(1), np.array([shares]), np.full(1, 3.0))
        for shares in ((-0.1, 1.4, 0.5, 0.5), (0.0, 1.0, 0.5, 0.5))
    )
    np.testing.assert_array_equal(FUSION.score(beyond), FUSION.score(bounded))


def test_one_quality_holds_for_all_pairs() -> None:
    alone = Evidence(np.array([0.1, 0.7]), np.array([3.0, 4.0]), np.array([REGIONS] * 2), np.array([3.25]))
    np.testing.assert_array_equal(FUSION.score(alone), FUSION.score(alone._replace(quality=np.full(2, 3.25))))


def test_regions_are_the_rows_of_an_aligned_face_by_hundredths() -> None:
    weights = region_weights(100)
    for region, (first, end) in enumerate([(0, 33), (33, 57), (57, 74), (74, 100)]):
        expected = np.zeros(100)
        expected[first:end] = 1 / (end - first)
        np.testing.assert_allclose(weights[region], expected, atol=1e-12)


def test_a_row_that_two_regions_share_counts_for_each_by_its_part() -> None:
    # Three rows: the forehead ends at 0.99 of the first, the eyes at 0.71 of the second, the nose at 0.22 of the third.
    expected = [[1, 0, 0], [0.01 / 0.72, 0.71 / 0.72, 0], [0, 0.29 / 0.51, 0.22 / 0.51], [0, 0, 1]]
    np.testing.assert_allclose(region_weights(3), expected, atol=1e-12)


def test_a_region_shows_the_mean_of_both_visibilities_product() -> None:
    first, second = np.ones((2, 1, 4, 2)), np.full((1, 1, 4, 2), 0.5)
    first[1, 0, :, 0] = 0.0
    np.testing.assert_allclose(region_shares(first, second), [[0.5] * 4, [0.25] * 4])


def test_the_worse_image_says_the_quality() -> None:
    found = pair_quality(np.array([4.0, 20.0, 0.0], np.float32), np.array([8.0, 2.0, 5.0], np.float32))
    np.testing.assert_allclose(found, [math.log(4.0), math.log(2.0), math.log(1e-6)])
    for first, second in ((np.empty(0), np.ones(1)), (np.ones(1), np.empty(0))):
        assert np.isnan(pair_quality(first, second)).tolist() == [True]
