"""Names of occluders, drawn and cut out, and of the sides of a pair that they cover."""

from __future__ import annotations

from typing import Literal, get_args

from oaml_core.errors import ConfigError, nearest

Occluder = Literal[
    "surgical",
    "cloth",
    "ffp2",
    "veil",
    "niqab",
    "sunglasses",
    "eyeglasses",
    "scarf",
    "hand",
    "phone",
    "microphone",
    "hat",
    "hair",
    "blocks",
]
"""Names of the drawn occluders."""
Sides = Literal["second", "both"]

CUTOUT = "cutout:"
"""Begins the names of cut-outs: `cutout:mask` is a file of the sub-folder `mask` of `data.occluders`."""
WITH = "+"
"""Joins things that are worn together: `mask+sunglasses`."""
GROUPS: dict[str, tuple[Occluder, ...]] = {"mask": ("surgical", "cloth", "ffp2")}
"""Names that stand for any of several drawings."""


def occluder_names() -> list[str]:
    """Return every name of a single drawn occluder, and of groups of them."""
    return [*get_args(Occluder), *GROUPS]


def parts_of(name: str) -> list[str]:
    """Single occluders that a name joins by `+`, the lowest layer first."""
    return name.split(WITH)


def needs_cutouts(name: str) -> bool:
    """Return True if any part of it comes from the folder of cut-outs."""
    return any(part.startswith(CUTOUT) for part in parts_of(name))


def mistake_in(name: str) -> str | None:
    """Return what is wrong with an occluder's name, with the nearest right one; None if nothing is."""
    known = occluder_names()
    for part in parts_of(name):
        if part not in known and not (part.startswith(CUTOUT) and part != CUTOUT):
            return (
                f"{part!r} is no occluder.{nearest(part, known)} The occluders are {', '.join(known)}, "
                f"and {CUTOUT}KIND of the folder data.occluders."
            )
    return None


def check_occluders(names: tuple[str, ...], key: str, folder: str | None) -> None:
    """Refuse names of occluders that cannot be laid on faces.

    Args:
        names: occluders, or several joined by `+`.
        key: configuration key that names them.
        folder: folder of cut-outs, if there is one.

    Raises:
        ConfigError: there is no such occluder, or a cut-out without a folder.
    """
    for name in names:
        mistake = mistake_in(name)
        if mistake is not None:
            raise ConfigError(f"{key} has {name!r}: {mistake}")
        if folder is None and needs_cutouts(name):
            raise ConfigError(f"{key} has {name!r}, but data.occluders names no folder of cut-outs. Set it.")
