"""Messages of the command line's parser about values that it refuses, in a user's words."""

from __future__ import annotations

import re
from collections.abc import Collection

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
    "tuple": "a list such as [a, b]",
    "list": "a list such as [a, b]",
    "dict": "keys with values",
    "PositiveInt": "a whole number above 0",
    "PositiveFloat": "a number above 0",
    "NonNegativeInt": "a whole number, 0 or more",
    "NonNegativeFloat": "a number, 0 or more",
}
"""Wanted values, by the name of their type."""
_KEY = r'Parser key "([\w.]+)": '
EXPECTED = re.compile(_KEY + r"Expected a (.+?)\. Got value: (.*)")
UNION = re.compile(_KEY + r"Does not validate against any of the Union subtypes .*? Given value: (.*)")
RESTRICTED = re.compile(_KEY + r"Not of type (\w+): (?:(.*) does not conform to restriction .*|.*?: '(.*)')")
MISSING = re.compile(r"the following arguments are required: (.+)")
_SUBTYPE = re.compile(r"- Expected a (.+?)(?= - Expected| Given value)")


def said_plainly(message: str, options: Collection[str] = ()) -> str:
    """Return a message of the parser, with the wanted value in words where it names a Python type, and with what is
    missing as it is typed.

    Args:
        message: in one line.
        options: of the command, with their dashes.
    """
    message = message.rstrip(".")
    if found := MISSING.fullmatch(message):
        absent = [f"--{name}" if f"--{name}" in options else name for name in found[1].split(", ")]
        return f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing"
    if found := RESTRICTED.fullmatch(message):
        key, kind, number, text = found.groups()
        return _takes(key, KINDS.get(kind, kind), number or text)
    if found := UNION.fullmatch(message):
        key, value = found.groups()
        return _takes(key, " or ".join(_wanted(each) for each in _SUBTYPE.findall(message)), value)
    if found := EXPECTED.fullmatch(message):
        key, kind, value = found.groups()
        return _takes(key, _wanted(kind), value)
    return message


def _takes(key: str, wanted: str, value: str) -> str:
    return f"{key} takes {wanted}, not {value}"


def _wanted(kind: str) -> str:
    """Return words for a type as the parser shows it: `<class 'int'>`, `typing.Literal['a', 'b']` and the like."""
    if choices := re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", kind):
        *others, last = (each.strip().strip("'\"") for each in choices[1].split(","))
        return f"{', '.join(others)} or {last}" if others else last
    if plain := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>", kind):
        return KINDS.get(plain[1], plain[1])
    if listed := re.fullmatch(r"tuple with (\d+) elements?", kind):
        return f"a list of {listed[1]} values"
    return kind
