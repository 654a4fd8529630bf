"""Names of occluders, drawn and cut out, and of the sides of a pair that they cover."""

from __future__ import annotations

from typing import Literal

from oaml_core.errors import ConfigError, nearest
from oaml_core.registry import OCCLUDERS

Sides = Literal["second", "both"]

CUTOUT = "cutout:"
"""Begins the names of cut-outs: `cutout:mask` is a file of the sub-folder `mask` of `data.occluders`."""
WITH = "+"
"""Joins things that are worn together: `mask+sunglasses`."""
WITHOUT_ARTWORK = "blocks"
"""Rectangles of one colour."""
DRAWN: tuple[str, ...] = (*OCCLUDERS.own, WITHOUT_ARTWORK)
"""The drawn occluders of OAML."""
GROUPS: dict[str, tuple[str, ...]] = {"mask": ("surgical", "cloth", "ffp2")}
"""Names that stand for any of several drawings."""


def drawn_occluders() -> list[str]:
    """Return the name of each single drawn occluder, those of plugins among them."""
    return [*OCCLUDERS.names(), WITHOUT_ARTWORK]


def occluder_names() -> list[str]:
    """Return every name of a single drawn occluder, and of groups of them."""
    return [*drawn_occluders(), *GROUPS]


def parts_of(name: str) -> list[str]:
    """Single occluders that a name joins by `+`, the lowest layer first."""
    return name.split(WITH)


def needs_cutouts(name: str) -> bool:
    """Return True if any part of it comes from the folder of cut-outs."""
    return any(part.startswith(CUTOUT) for part in parts_of(name))


def mistake_in(name: str) -> str | None:
    """Return what is wrong with an occluder's name, with the nearest right one; None if nothing is."""
    for part in parts_of(name):
        if part in DRAWN or part in GROUPS or (part.startswith(CUTOUT) and part != CUTOUT):
            continue
        known = occluder_names()
        if part not in known:
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
