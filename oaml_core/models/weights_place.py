"""Find a backbone's weights in what a training tool saved, by the names of the parameters themselves.

Tools put weights below keys of their own (`state_dict`, `net`, `model_state_dict`) and prefixes before their names
(`module.`, `_orig_mod.`, `encoder.`). Neither has to be known: a place fits if all names of the backbone are there
behind one prefix.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oaml_core.amounts import amount
from oaml_core.errors import CheckpointError

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What training tools put before the names of a backbone's parameters, also one behind another."""
CONTAINERS = ("state_dict", "state_dict_backbone", "model", "ema")
"""Keys below which training tools keep the weights, in the order of preference where several of them fit."""
DEEPEST = 4
"""Levels of keys that are looked through."""


class Naming(NamedTuple):
    """A way of naming the parameters of a backbone."""

    names: Collection[str]
    """Names that are there in any case."""
    parts: Collection[str]
    """First parts of all its names; other modules have others."""


class WeightsPlace(NamedTuple):
    """A set of weights in a file."""

    keys: tuple[str, ...]
    """Keys that lead to it."""
    prefix: str
    """What stands before each of its names."""
    weights: dict[str, Any]
    """Its content, without the prefix."""

    @property
    def rank(self) -> tuple[bool, list[int]]:
        """Order of preference, the lowest first: usual prefixes, then usual keys."""
        rest = self.prefix
        while known := next((one for one in PREFIXES if rest.startswith(one)), None):
            rest = rest.removeprefix(known)
        return bool(rest), [CONTAINERS.index(key) if key in CONTAINERS else len(CONTAINERS) for key in self.keys]

    def __str__(self) -> str:
        return "/".join((*self.keys, self.prefix or "(no prefix)"))


def find_weights(content: object, namings: Collection[Naming], path: Path) -> dict[str, Any]:
    """Return the weights of one backbone by name.

    Args:
        content: of the file.
        namings: the ways of naming the same backbone.
        path: of the file, for messages.

    Returns:
        Names without prefix. Modules beside the backbone are left out where all its names were found.

    Raises:
        CheckpointError: there are no weights by name, or several sets fit and differ.
    """
    places = sorted(_places(content, (), namings), key=lambda place: place.rank)
    if not places:
        return _by_habit(content, path)
    first = places[0]
    rivals = [place for place in places[1:] if place.rank == first.rank and not _same(place.weights, first.weights)]
    if rivals:
        raise CheckpointError(
            f"{path} holds {amount(len(rivals) + 1, 'set')} of weights of this backbone: "
            f"{', '.join(map(str, (first, *rivals)))}. "
            "Save the one that is meant in a file of its own."
        )
    return first.weights


def _places(content: object, keys: tuple[str, ...], namings: Collection[Naming]) -> Iterator[WeightsPlace]:
    """Go through the mappings of a file, and through the prefixes behind which all names stand."""
    if not isinstance(content, Mapping) or len(keys) > DEEPEST:
        return
    for names, parts in namings:
        mark = next(iter(names))
        for key in content:
            if not isinstance(key, str) or not (key == mark or key.endswith(f".{mark}")):
                continue
            prefix = key.removesuffix(mark)
            if not all(prefix + name in content for name in names):
                continue
            own = {k.removeprefix(prefix): v for k, v in content.items() if isinstance(k, str) and k.startswith(prefix)}
            yield WeightsPlace(keys, prefix, {name: v for name, v in own.items() if name.partition(".")[0] in parts})
    for key, value in content.items():
        yield from _places(value, (*keys, str(key)), namings)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        isinstance(value, Tensor) and isinstance(other[name], Tensor) and torch.equal(value, other[name])
        for name, value in one.items()
    )


def _by_habit(content: object, path: Path) -> dict[str, Any]:
    """Return what lies below the usual keys and prefixes, so that the caller can say what does not fit."""
    found = content
    while isinstance(found, Mapping) and (key := next((k for k in CONTAINERS if _holds(found, k)), None)):
        found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise CheckpointError(f"{path} holds no weights by name: give the state dict of a backbone.")
    own = dict(found)
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in own)), None):
        own = {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}
    return own


def _holds(content: Mapping[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)
