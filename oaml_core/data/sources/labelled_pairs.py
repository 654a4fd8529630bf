"""Verification pairs of images that are labelled with people: validation lists, validation splits of shards.

All pairs within up to ten images of each of up to 500 people, and as many of two people; which ones depends on the
names alone. It is the pairing of people who are held out of training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from oaml_core.data.sources.base import TrainingSource
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError

MOST_PEOPLE = 500
"""People that are paired at most."""
IMAGES_OF_EACH = 10
"""Most images of a person that are paired."""
MOST_PAIRS = 6000


def pair_labelled(source: TrainingSource, name: str, where: str) -> VerificationSource:
    """Pair the images of a labelled set that is not trained on.

    Args:
        source: its images and whom they show.
        name: of the set.
        where: full name of its file, for messages.

    Raises:
        DataError: fewer than two people have two images that can be read.
    """
    people, counts = np.unique(source.labels, return_counts=True)
    pairable = sorted(people[counts > 1], key=lambda label: order_of(source.identity_name(int(label))))[:MOST_PEOPLE]
    images = [np.flatnonzero(source.labels == label)[:IMAGES_OF_EACH] for label in pairable]
    by_person = [
        [int(number) for number in numbers if is_usable(source, int(number), square=False)] for numbers in images
    ]
    note = (
        f"{name}: {where} labels its images; its pairs are drawn from {len(by_person):,} of {len(people):,} people and "
        "are no published protocol"
    )
    pairs = pair_people(source, by_person, name, where, (note,))
    if pairs is None:
        raise DataError(f"{where}: {len(by_person):,} of {len(people):,} people have two images that can be read.")
    return pairs


def order_of(name: str) -> bytes:
    """Return where a name stands in the order in which people and pairs are taken: the same on every machine."""
    return hashlib.sha256(name.encode(errors="replace")).digest()


def is_usable(source: TrainingSource, number: int, *, square: bool = True) -> bool:
    """Return True if an image can be read, and is square where that is asked: photographs are aligned later."""
    try:
        image = decode_image(source.read(number))
        if square:
            fit_square(image, image.shape[0])
    except DataError:
        return False
    return True


def pair_people(
    source: TrainingSource, by_person: Sequence[Sequence[int]], name: str, where: str, notes: tuple[str, ...] = ()
) -> VerificationSource | None:
    """Pair images of the same person, and as many of two; None if there is no pair of the one or the other kind.

    Args:
        source: the images.
        by_person: numbers of usable images of each person.
        name: of the set.
        where: what messages call the set.
        notes: what the report says of the set.
    """
    genuine = [pair for images in by_person for pair in combinations(images, 2)]
    genuine = sorted(genuine, key=lambda pair: _pair_order(source, pair))[: MOST_PAIRS // 2]
    impostors = _impostors(source, by_person, len(genuine))
    count = min(len(genuine), len(impostors))
    if count == 0:
        return None
    # One of each kind in turn: every fold then holds both.
    numbers = [n for pair in zip(genuine[:count], impostors[:count], strict=True) for both in pair for n in both]
    known = source.landmarks
    points = None if known is None else known[numbers]
    return VerificationSource(
        name,
        where,
        np.tile([True, False], count),
        lambda: points,
        lambda: (source.read(number) for number in numbers),
        source.labels[numbers],
        [source.name(number) for number in numbers],
        {int(label): source.identity_name(int(label)) for label in np.unique(source.labels[numbers])},
        used=source.used,
        notes=notes,
    )


def _impostors(source: TrainingSource, by_person: Sequence[Sequence[int]], count: int) -> list[tuple[int, int]]:
    """Pair images of people at growing distance in the list, image after image, until there are enough."""
    found: dict[tuple[int, int], None] = {}
    people = [images for images in by_person if images]
    for turn in range(IMAGES_OF_EACH * IMAGES_OF_EACH):
        one, other = divmod(turn, IMAGES_OF_EACH)
        for step in range(1, len(people) // 2 + 1):
            for place, images in enumerate(people):
                others = people[(place + step) % len(people)]
                if others is images or one >= len(images) or other >= len(others):
                    continue
                pair = images[one], others[other]
                if pair[::-1] not in found:  # half-way round the list people meet a second time
                    found[pair] = None
                if len(found) >= count:
                    return sorted(found, key=lambda pair: _pair_order(source, pair))
    return sorted(found, key=lambda pair: _pair_order(source, pair))


def _pair_order(source: TrainingSource, pair: tuple[int, int]) -> bytes:
    return order_of("\0".join(source.name(number) for number in pair))
