"""Findings on the people of a source: who is trained on, who is left out, how many images each has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount, first_of
from oaml_core.config import Config
from oaml_core.data.check.report import Finding, Verdict
from oaml_core.data.check.seen import Seen
from oaml_core.data.sources.base import Ints
from oaml_core.folder_entries import shown
from oaml_core.printable_names import person_spelling


def labels_finding(seen: Seen) -> Finding:
    """Say how many people are trained on, and name those who are left out."""
    used = int((seen.counts > 0).sum())
    people = amount(used, "identity", "identities")
    lost, unchosen = _lost_identities(seen), _unchosen_identities(seen)
    gaps = len(seen.counts) - int(_present(seen, seen.inputs.training.labels).sum())
    unused = amount(gaps, "number below the largest is", "numbers below the largest are")
    parts = [people, f"{unused} unused; made contiguous"] if gaps else [people]
    if unchosen:
        parts.append(f"{_named(seen, unchosen)} left out by {_choice(seen.config)}")
    if lost:
        remedy = f"{_named(seen, lost)} left out, as none of their images can be used: mend or remove them"
        return Finding("labels", "; ".join(parts), "warning", remedy)
    whole = len(parts) == 1
    verdict: Verdict = "warning" if unchosen and seen.config.data.align else "ok"
    return Finding("labels", f"{people}, contiguous from 0" if whole else "; ".join(parts), verdict)


def _lost_identities(seen: Seen) -> list[int]:
    """Return numbers of the identities of which every image was set aside."""
    return sorted(label for label in seen.broken_labels if not seen.counts[label])


def _unchosen_identities(seen: Seen) -> list[int]:
    """Return numbers of the identities of which no image is looked at, for training or verification."""
    inputs = seen.inputs
    chosen = inputs.training.labels[np.concatenate([inputs.selected, inputs.held_out])]
    return np.flatnonzero(_present(seen, inputs.training.labels) & ~_present(seen, chosen)).tolist()


def _present(seen: Seen, labels: Ints) -> NDArray[np.bool_]:
    """Return bool [identities]: whether each number is among `labels`."""
    return np.bincount(labels, minlength=len(seen.counts)) > 0


def _choice(config: Config) -> str:
    """Name the settings by which identities are left out."""
    data = config.data
    ways = [
        *(["data.subset"] if data.subset is not None else []),
        *([f"data.min_images_per_identity {data.min_images_per_identity}"] if data.min_images_per_identity > 1 else []),
        *(["data.align, as no face was found"] if data.align else []),
    ]
    return " or ".join(ways) or "verification"


def _named(seen: Seen, labels: list[int]) -> str:
    names = first_of(shown(seen.inputs.training.identity_name(label)) for label in labels)
    return f"{amount(len(labels), 'identity', 'identities')} ({names}) {'is' if len(labels) == 1 else 'are'}"


def alike_findings(seen: Seen) -> list[Finding]:
    """Name people whose names differ by case, accents, blanks, `_` or `-` alone; nothing where there are none."""
    people: dict[str, list[str]] = {}
    held_out = _present(seen, seen.inputs.training.labels[seen.inputs.held_out])
    for label in np.flatnonzero((seen.counts > 0) | held_out).tolist():
        name = seen.inputs.training.identity_name(label)
        if not name.isdecimal():
            people.setdefault(person_spelling(name), []).append(f"'{shown(name)}'")
    alike = [" and ".join(names) for names in people.values() if len(names) > 1]
    if not alike:
        return []
    names = amount(len(alike), "name is written", "names are written")
    remedy = "If each is one person, move the images into one folder: as two they are taught apart, and never paired"
    return [Finding("labels", f"{names} in several ways ({first_of(alike)})", "warning", remedy)]


def images_finding(seen: Seen) -> Finding:
    """Say how many images the people have who are trained on."""
    counts = seen.counts[seen.counts > 0]
    if not len(counts):
        return Finding("images per identity", "none")
    result = f"{counts.min()} to {counts.max()}, median {np.median(counts):.0f}"
    wanted = seen.config.data.num_instances
    few = int((counts < wanted).sum())
    if not few:
        return Finding("images per identity", result)
    remedy = (
        f"{amount(few, 'identity has', 'identities have')} fewer than data.num_instances {wanted}: a batch repeats "
        "their images"
    )
    if few < len(counts):
        remedy += f"; data.min_images_per_identity {wanted} leaves them out"
    return Finding("images per identity", result, "warning", remedy)


def twins_finding(seen: Seen) -> Finding:
    """Say how many training images are the same file as an earlier one, and which people share some."""
    if not seen.twins:
        return Finding("training twice", "no file occurs twice")
    again = amount(len(seen.twins), "file occurs", "files occur")
    result = f"{again} again, {seen.shared.total():,} under another identity"
    if not seen.shared:
        return Finding("training twice", result, "warning", "Each copy counts as an image: remove all but one")
    remedy = (
        f"An image of two identities teaches that they are one: {first_of(_sharing(seen))}. Move the images of one "
        "person into one folder, and remove those of nobody"
    )
    return Finding("training twice", result, "warning", remedy)


def _sharing(seen: Seen) -> Iterator[str]:
    """Yield pairs of people who share images, those who share most first."""
    for (one, two), number in seen.shared.most_common():
        names = [repr(shown(seen.inputs.training.identity_name(label))) for label in (one, two)]
        yield f"{names[0]} and {names[1]} share {number:,} (of {seen.counts[one]:,} and {seen.counts[two]:,})"
