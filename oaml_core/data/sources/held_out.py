"""People who are verified and never trained on: those of pairs drawn from the training folder, or some of its own.

Where a source brings no verification set, a share of its people is held out and paired, so that every training can
be proven. Who is held out depends on the people's names alone: it is the same on every machine and after images are
added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from oaml_core.config import DataConfig
from oaml_core.data.sources.base import Ints, TrainingSource
from oaml_core.data.sources.verification import VerificationSource
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError

SET_NAME = "held_out"
FEWEST_PEOPLE, MOST_PEOPLE = 10, 500
"""People that are held out at least, unless that is more than one of five, and at most."""
IMAGES_OF_EACH = 10
"""Most images of a held-out person that are paired."""
MOST_PAIRS = 6000


@dataclass(frozen=True)
class HeldOut:
    """What holding people out gives."""

    pairs: VerificationSource | None
    selected: Ints
    """Numbers of the images that are left to train on."""
    note: str
    """What was done, or why it could not be done."""
    left_out: Ints
    """Numbers of the images of those who are held out."""


def hold_people_out(source: TrainingSource, selected: Ints, data: DataConfig) -> HeldOut:
    """Hold people out of training and pair their images.

    Args:
        source: the training images.
        selected: numbers of those that the configuration lets in.
        data: the share of people, and how images decode.

    Returns:
        The pairs, or None where too few people have two images.
    """
    labels = source.labels[selected]
    people, counts = np.unique(labels, return_counts=True)
    pairable = sorted(people[counts > 1], key=lambda label: _order(source.identity_name(int(label))))
    least = max(2, min(FEWEST_PEOPLE, len(people) // 5))
    count = min(max(round(data.held_out_share * len(people)), least), MOST_PEOPLE, len(pairable), len(people) // 2)
    if count < 2:
        return HeldOut(None, selected, _too_few(len(people), len(pairable)), selected[:0])
    chosen = pairable[:count]
    by_person, unreadable = [], 0
    for label in chosen:
        numbers = selected[labels == label][:IMAGES_OF_EACH]
        usable = [int(number) for number in numbers if _is_usable(source, int(number), data)]
        unreadable += len(numbers) - len(usable)
        by_person.append(usable)
    pairs = _paired(source, by_person)
    if pairs is None:
        why = f"The images of the {count} people to hold out cannot be read."
        return HeldOut(None, selected, why, selected[:0])
    names = ", ".join(source.identity_name(int(label)) for label in chosen[:5]) + (", …" if count > 5 else "")
    note = (
        f"The source brings no verification set: {count:,} of {len(people):,} people ({names}) are held out of "
        f"training and make the set {SET_NAME} of {len(pairs):,} pairs; data.held_out_share says how many"
    )
    if unreadable:
        note += f". {unreadable:,} of their images cannot be read and are not paired"
    held = np.isin(labels, chosen)
    return HeldOut(pairs, selected[~held], note, selected[held])


def leave_out_verified(
    source: TrainingSource, selected: Ints, sets: Sequence[VerificationSource]
) -> tuple[Ints, list[str]]:
    """Leave people out of training whom pairs of the same folder show.

    Args:
        source: the training images.
        selected: numbers of those that the configuration lets in.
        sets: verification sets; only those whose images are training images count.

    Returns:
        Numbers of the images that are left, and a note for the report.
    """
    files = {name for pairs in sets for name in pairs.files}
    if not files:
        return selected, []
    labels = source.labels[selected]
    shown = np.unique([label for number, label in zip(selected, labels, strict=True) if source.name(number) in files])
    if not len(shown):
        return selected, []
    left = len(np.unique(labels)) - len(shown)
    if left < 2:
        return selected, [
            f"{len(shown):,} people are trained on and verified: too few are left without those of the pairs. Results "
            "flatter; add people whom no pair shows"
        ]
    note = f"{len(shown):,} people whom pairs of the same folder show are held out of training; {left:,} are left"
    return selected[~np.isin(labels, shown)], [note]


def _order(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="replace")).digest()


def _too_few(people: int, pairable: int) -> str:
    if pairable < 2:
        return (
            f"The source brings no verification set, and {pairable} of its {people:,} people have two images to pair. "
            "Add a .bin set, a pair list, or more images of each person"
        )
    return (
        f"The source brings no verification set, and its {people:,} people are too few to hold some out. Add a set, "
        "or more people"
    )


def _is_usable(source: TrainingSource, number: int, data: DataConfig) -> bool:
    try:
        fit_square(decode_image(source.read(number), data.channel_order), data.image_size)
    except DataError:
        return False
    return True


def _paired(source: TrainingSource, by_person: Sequence[Sequence[int]]) -> VerificationSource | None:
    """Pair images of the same person, and as many of two; None if there is no pair of the one or the other kind."""
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
        SET_NAME,
        f"the pairs held out of {len(by_person)} people",
        np.tile([True, False], count),
        lambda: points,
        lambda: (source.read(number) for number in numbers),
        source.labels[numbers],
        [source.name(number) for number in numbers],
        {int(label): source.identity_name(int(label)) for label in np.unique(source.labels[numbers])},
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
                found.setdefault((images[one], others[other]))
                if len(found) >= count:
                    return sorted(found, key=lambda pair: _pair_order(source, pair))
    return sorted(found, key=lambda pair: _pair_order(source, pair))


def _pair_order(source: TrainingSource, pair: tuple[int, int]) -> bytes:
    return _order("\0".join(source.name(number) for number in pair))
