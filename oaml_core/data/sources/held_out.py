"""People who are verified and never trained on: those of pairs drawn from the training folder, or some of its own.

Where a source brings no verification set, a share of its people is held out and paired, so that every training can
be proven. Who is held out depends on the people's names alone: it is the same on every machine and after images are
added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oaml_core.amounts import amount, first_of
from oaml_core.config import DataConfig
from oaml_core.data.sources.base import Ints, TrainingSource
from oaml_core.data.sources.labelled_pairs import IMAGES_OF_EACH, MOST_PEOPLE, is_usable, order_of, pair_people
from oaml_core.data.sources.verification_source import VerificationSource

SET_NAME = "held_out"
FEWEST_PEOPLE = 10
"""People that are held out at least, unless that is more than one of five."""


@dataclass(frozen=True)
class HeldOut:
    """The result of holding people out."""

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
        data: the share of people.

    Returns:
        The pairs, or None where too few people have two images.
    """
    labels = source.labels[selected]
    people, counts = np.unique(labels, return_counts=True)
    pairable = sorted(people[counts > 1], key=lambda label: order_of(source.identity_name(int(label))))
    least = max(2, min(FEWEST_PEOPLE, len(people) // 5))
    count = min(max(round(data.held_out_share * len(people)), least), MOST_PEOPLE, len(pairable), len(people) // 2)
    if count < 2:
        return HeldOut(None, selected, _too_few(len(people), len(pairable)), selected[:0])
    chosen = pairable[:count]
    by_person, unreadable = [], 0
    for label in chosen:
        numbers = selected[labels == label][:IMAGES_OF_EACH]
        usable = [int(number) for number in numbers if is_usable(source, int(number))]
        unreadable += len(numbers) - len(usable)
        by_person.append(usable)
    pairs = pair_people(source, by_person, SET_NAME, f"the pairs held out of {len(by_person)} people")
    if pairs is None:
        why = f"The images of the {amount(count, 'person', 'people')} to hold out cannot be read"
        return HeldOut(None, selected, why, selected[:0])
    names = first_of(source.identity_name(int(label)) for label in chosen)
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
            f"{amount(len(shown), 'person is', 'people are')} trained on and verified: too few are left without those "
            "of the pairs. Results flatter; add people whom no pair shows"
        ]
    note = (
        f"{amount(len(shown), 'person', 'people')} shown by pairs of the same folder and held out of training; "
        f"{left:,} are left"
    )
    return selected[~np.isin(labels, shown)], [note]


def known_by_name(source: TrainingSource, selected: Ints, sets: Sequence[VerificationSource]) -> list[str]:
    """Say which sets of labelled images show people who are trained on, as far as their names tell.

    Args:
        source: the training images.
        selected: numbers of those that are trained on.
        sets: verification sets; only those whose pairs are drawn from labelled images count.
    """
    labelled = [pairs for pairs in sets if pairs.notes and pairs.people]
    if not labelled:
        return []
    trained = {source.identity_name(int(label)) for label in np.unique(source.labels[selected])}
    shared = {pairs.name: len(trained & set(pairs.people.values())) for pairs in labelled}
    return [
        f"{amount(count, 'person', 'people')} of {name} with labels that are trained on: results flatter, unless "
        "labels of the two mean different people"
        for name, count in shared.items()
        if count
    ]


def _too_few(people: int, pairable: int) -> str:
    if pairable < 2:
        return (
            f"The source brings no verification set, and has two images to pair of {pairable} of its "
            f"{amount(people, 'person', 'people')}. Add a .bin set, a pair list, or more images of each person"
        )
    return (
        f"The source brings no verification set, and {amount(people, 'person is', 'people are')} too few to hold some "
        "out. Add a set, or more people"
    )
