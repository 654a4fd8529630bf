"""What a local run says: the stages' own lines, without those that the pipeline SDK puts around them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator

from oaml_core.errors import OamlError

INDENT = "    "
PREFIX = re.compile(r"^\[KFP Executor [\d\- :,]+ (?P<level>\w+)\]: ")
SDK_LINES = re.compile(
    r"Looking for component |Loading KFP component |Wrote executor output file |Did not write output"
)
INPUT_DUMP = "Got executor_input:"
RULE = re.compile(r"^-{20,}$")
ERROR = re.compile(r"((?:oaml_core|components|pipelines)(?:\.\w+)*)\.(\w+): ")
"""Last line of a traceback, of an error of this project's own."""
TRACEBACK = "Traceback (most recent call last):"
CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
WARNING = re.compile(r"\w+\.py:\d+: \w*Warning: ")


def readable(lines: Iterable[str]) -> Iterator[str]:
    """`lines` of a run of the graph, without line ends, as a user wants them.

    The SDK's executor dumps its whole input as JSON, and the SDK indents all that a task says. Tracebacks of errors
    that a user can cause are cut down to their message; those of others stay whole.
    """
    traceback = _Traceback()
    in_dump = in_warning = False
    for line in lines:
        text = line.rstrip().removeprefix(INDENT)
        if traceback.takes(text):
            continue
        yield from traceback.end()
        if in_dump:
            in_dump = text != "}"
        elif in_warning:  # the line of source that a warning quotes
            in_warning = False
        elif text == TRACEBACK:
            traceback.begin()
        else:
            in_warning = bool(WARNING.search(text))
            said = PREFIX.sub("", text)
            in_dump = said == INPUT_DUMP
            if said and not (in_dump or in_warning or RULE.match(said) or SDK_LINES.match(said)):
                yield said
    yield from traceback.end()


class _Traceback:
    """A traceback that is being read, with those that it says it follows from."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._is_open = False

    def begin(self) -> None:
        self._lines, self._is_open = [TRACEBACK], True

    def takes(self, text: str) -> bool:
        """Return True, and keep the line, if it belongs to the traceback."""
        if not self._lines:
            return False
        if self._is_open:
            self._is_open = not text or text.startswith((" ", TRACEBACK))
        elif text in CHAINED:
            self._is_open = True
        elif text:
            return False
        self._lines.append(text)
        return True

    def end(self) -> list[str]:
        """Return what is shown of it: of an error that a user can cause, the message; of another one, all."""
        lines, self._lines, self._is_open = self._lines, [], False
        while lines and not lines[-1]:
            lines.pop()
        own = ERROR.match(lines[-1]) if lines else None
        if own and _is_a_users(*own.groups()):
            return [f"oaml: {lines[-1][own.end() :]}"]
        return lines


def _is_a_users(module: str, name: str) -> bool:
    """Return True if an exception class is of the kind that a user can cause."""
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return isinstance(kind, type) and issubclass(kind, OamlError)
