"""What a further image costs in memory: so little that 42 million fit, and not more the more there are."""

from __future__ import annotations

import pytest

from benchmarks.scale import growth

LIMITS = {
    "listing": 400,  # single images in a bucket or folder; RecordIO has none
    "listed as before": 1,
    "nothing new": 40,
    "manifest": 20,
    "plan": 80,
    "wanted parts": 8,  # the plan is there, and looked at in blocks
    "garbage": 600,  # of a part, of which there is one per 10,000 images
}
"""Most bytes of a further image. 42 million times 100 bytes are 4 GiB."""


@pytest.mark.parametrize("part", LIMITS)
def test_memory_of_a_further_image_is_bounded(part: str) -> None:
    # Of a listing as many entries wait in memory as there are between two marks, however long it is.
    fewer = 20_000 if "listed" in part or "inventory" in part else 5_000
    assert growth(part, fewer, fewer + 45_000, timed=False).bytes <= LIMITS[part]


@pytest.mark.slow
def test_preparing_holds_no_images() -> None:
    found = growth("prepare", 5_000, 50_000, timed=False)
    assert found.bytes <= 160  # an encoded image has thousands


@pytest.mark.parametrize("part", ["plan", "nothing new"])
def test_memory_grows_no_faster_than_images(part: str) -> None:
    small, large = growth(part, 5_000, 20_000, timed=False), growth(part, 20_000, 80_000, timed=False)
    assert large.bytes <= 1.5 * small.bytes + 10
