"""Bytes and requests that streaming saves before the first batch, and a local plan of the whole set."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.streaming import KnownPlaces, begin, epochs, prepared
from oaml_core.data.batches.samplers import LocalPKBatchSampler, PKBatchSampler


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepared(tmp_path_factory.mktemp("figures"), images=6_000, parts=24)


def test_the_first_batch_needs_no_parts(uri: str, tmp_path: Path) -> None:
    copied, streamed = begin(uri, tmp_path / "copy", "copy"), begin(uri, tmp_path / "stream", "stream")
    assert copied.first == copied.epoch
    assert streamed.first.bytes_read < streamed.epoch.bytes_read


def test_what_is_found_here_is_the_share_of_the_set_that_has_room_and_more_with_a_local_plan() -> None:
    faces = KnownPlaces(20_000)
    plain, local = (epochs(faces, kind, [16], [0.25])[0] for kind in (PKBatchSampler, LocalPKBatchSampler))
    assert plain.found_here == pytest.approx(0.25, abs=0.05)
    assert local.found_here > 0.8
    assert plain.parts_second == local.parts_second == 0, "parts stay from one epoch to the next"
    assert local.records < plain.records
