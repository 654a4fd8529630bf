"""Reads YAML and JSON that others wrote, with bounded work: the one place where both are read from outside.

Hostile or damaged text gets an error that names it, within a second, and never a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, get_args

import yaml

from oaml_core.amounts import amount
from oaml_core.errors import ConfigError, OamlError

Needs = Iterable[str] | Mapping[str, type | UnionType]
"""Keys that a JSON object must have, or their types by key."""
MOST_CHARACTERS = 200_000
"""Longest YAML text; the recipes that come with OAML have some hundred."""
MOST_VALUES = 20_000
"""Values in a YAML text, those behind aliases counted each time that they are named."""
MOST_SHOWN = 60
"""Characters of a key that an error message shows."""
MOST_LEVELS = 50
"""Lists and mappings of YAML or JSON that stand within each other."""


def parse_yaml(text: str, what: str) -> Any:
    """Return the plain values that YAML `text` describes.

    Args:
        text: of the document; aliases are allowed, within the limits above.
        what: how error messages call it.

    Raises:
        ConfigError: it is not YAML, exceeds a limit, or has a key twice in one place.

    Example:
        >>> parse_yaml("a: [1, 2]", "The recipe")
        {'a': [1, 2]}
    """
    check_yaml(text, what)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-99-99 is a ValueError
        raise ConfigError(f"{what} is not YAML: {error}") from error


def check_yaml(text: str, what: str) -> None:
    """Refuse YAML `text` that is out of bounds before anything is built of it.

    Args:
        text: of the document.
        what: how error messages call it.

    Raises:
        ConfigError: it is not YAML, exceeds a limit, or has a key twice in one place.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"{what} has {amount(len(text), 'character')}; at most {MOST_CHARACTERS:,} are read. Shorten it."
        )
    counted, keys = _Counted(what), _Keys(what)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be built without its C library
    try:
        for event in yaml.parse(text, Loader=loader):
            counted.take(event)
            keys.take(event)
    except (yaml.YAMLError, UnicodeEncodeError) as error:  # halves of surrogates are no text for the C library
        raise ConfigError(f"{what} is not YAML: {error}") from error


class _Keys:
    """Keys of the mappings that a YAML document has open: the second of two equal ones would win in silence."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._open: list[set[str] | None] = [None]
        """The keys of each mapping so far; None for a sequence."""
        self._is_key = [False]

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            self._is_key.append(isinstance(event, yaml.MappingStartEvent))
            return
        if isinstance(event, yaml.ScalarEvent) and self._is_key[-1]:
            self._note(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._is_key.pop()
        elif not isinstance(event, yaml.NodeEvent):
            return
        self._is_key[-1] = self._open[-1] is not None and not self._is_key[-1]

    def _note(self, event: yaml.ScalarEvent) -> None:
        keys, mark = self._open[-1], event.start_mark
        assert keys is not None
        assert mark is not None
        if event.value in keys:
            raise ConfigError(
                f"{self.what} has the key {event.value[:MOST_SHOWN]} twice in the same place, again in line "
                f"{mark.line + 1}. Remove one."
            )
        keys.add(event.value)


class _Counted:
    """Values and levels of a YAML document, counted by its events."""

    def __init__(self, what: str) -> None:
        self.what, self.values = what, 0
        self._open: list[tuple[str | None, int]] = []
        self._sizes: dict[str | None, int] = {}

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in self._open):
                raise ConfigError(f"{self.what} has an alias *{event.anchor} within itself. Write the values out.")
            self.values += self._sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent):
            self.values += 1
            if event.anchor is not None:
                self._sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self.values))
            self.values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._sizes[anchor] = self.values - before
        if len(self._open) > MOST_LEVELS:
            raise ConfigError(f"{self.what} has more than {MOST_LEVELS} levels. Write it with fewer.")
        if self.values > MOST_VALUES:
            raise ConfigError(
                f"{self.what} describes more than {MOST_VALUES:,} values, those behind aliases included. Remove "
                "aliases or values."
            )


def parse_json(text: str | bytes, what: str, remedy: str, error: type[OamlError], needs: Needs = ()) -> dict[str, Any]:
    """Return the object that JSON `text` describes.

    Args:
        text: of the document, UTF-8.
        what: how error messages call it.
        remedy: a sentence of the error message: what the user can do.
        error: class of the error.
        needs: keys that the object must have; a mapping also says the type of each value, such as `str | None`.

    Raises:
        OamlError: of class `error`: it is damaged, nested too deeply, no object, a key is there twice or missing, or
            its value has another type.

    Example:
        >>> from oaml_core.errors import StoreError
        >>> parse_json(b'{"version": "3"}', "production.json", "Put it again.", StoreError, needs=["version"])
        {'version': '3'}
    """
    found = parse_json_value(text, what, remedy, error)
    if not isinstance(found, dict):
        raise error(f"{what} is damaged: it holds no JSON object. {remedy}")
    if missing := [key for key in needs if key not in found]:
        raise error(f"{what} is damaged: it lacks {', '.join(missing)}. {remedy}")
    if isinstance(needs, Mapping):
        check_types(found, needs, what, remedy, error)
    return found


def check_types(
    found: Mapping[str, Any], types: Mapping[str, type | UnionType], what: str, remedy: str, error: type[OamlError]
) -> None:
    """Refuse values of other types than are meant; keys that are not there pass.

    Args:
        found: keys and values of a document.
        types: of values by key; true and false are no numbers, a whole number is a `float`, too.
        what: how error messages call the document.
        remedy: a sentence of the error message: what the user can do.
        error: class of the error.

    Raises:
        OamlError: of class `error`: a value has another type; the key and both types are named.
    """
    for key, meant in types.items():
        if key not in found or _is_of_type(found[key], meant):
            continue
        name = getattr(meant, "__name__", str(meant))
        raise error(f"{what} is damaged: {key} is {type(found[key]).__name__}, not {name}. {remedy}")


def _is_of_type(value: Any, meant: type | UnionType) -> bool:
    kinds = get_args(meant) or (meant,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (float in kinds and isinstance(value, int) and abs(value) < 1 << 1023)


def parse_json_value(text: str | bytes, what: str, remedy: str, error: type[OamlError]) -> Any:
    """Return the value, of any kind, that JSON `text` describes.

    Args:
        text: of the document, UTF-8.
        what: how error messages call it.
        remedy: a sentence of the error message: what the user can do.
        error: class of the error.

    Raises:
        OamlError: of class `error`: it is damaged, nested too deeply, or has a key twice in one object.
    """
    try:
        found = json.loads(text, object_pairs_hook=_without_twins)
    except _TwinKey as twin:
        raise error(f"{what} has `{twin.key[:MOST_SHOWN]}` more than once. {remedy}") from None
    except RecursionError:
        raise error(f"{what} is damaged: it is nested too deeply. {remedy}") from None
    except ValueError as reason:  # JSONDecodeError, UnicodeDecodeError, numbers of thousands of digits
        raise error(f"{what} is damaged: it is not JSON ({reason}). {remedy}") from None
    if _levels_exceed(found):
        raise error(f"{what} is damaged: it has more than {MOST_LEVELS} levels. {remedy}")
    return found


class _TwinKey(Exception):
    """A key that a JSON object has twice: the second would win in silence."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _TwinKey(key)
            seen.add(key)
    return made


def json_or_none(text: str | bytes) -> Any:
    """Return the value that JSON `text` describes; None where it is damaged, for what can be done without.

    Args:
        text: of the document, UTF-8.

    Example:
        >>> json_or_none("[1, 2]"), json_or_none("[1,")
        ([1, 2], None)
    """
    try:
        return parse_json_value(text, "", "", OamlError)
    except OamlError:
        return None


def _levels_exceed(value: Any) -> bool:
    """Return True if `value` has more than `MOST_LEVELS` lists and mappings within each other."""
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True
