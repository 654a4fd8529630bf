"""What a local run says: the stages' own lines, without those that the pipeline SDK puts around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

INDENT = "    "
PREFIX = re.compile(r"^\[KFP Executor [\d\- :,]+ (?P<level>\w+)\]: ")
SDK_LINES = re.compile(
    r"Looking for component |Loading KFP component |Wrote executor output file |Did not write output"
)
INPUT_DUMP = "Got executor_input:"
RULE = re.compile(r"^-{20,}$")
OWN_ERROR = re.compile(r"^oaml_core\.[\w.]+Error: |^oaml_core\.store\.base\.MissingObject: ")
WARNING = re.compile(r"\w+\.py:\d+: \w*Warning: ")


def readable(lines: Iterable[str]) -> Iterator[str]:
    """`lines` of a run of the graph, without line ends, as a user wants them.

    The SDK's executor dumps its whole input as JSON, and the SDK indents all that a task says. Tracebacks of errors
    that a user can cause are cut down to their message; those of others stay whole.
    """
    traceback: list[str] = []
    in_dump = in_warning = False
    for line in lines:
        text = line.rstrip().removeprefix(INDENT)
        if in_dump:
            in_dump = text != "}"
        elif in_warning:  # the line of source that a warning quotes
            in_warning = False
        elif traceback:
            traceback.append(text)
            if text and not text.startswith((" ", "Traceback", "During handling", "The above exception")):
                yield from _shortened(traceback)
                traceback = []
        elif text == "Traceback (most recent call last):":
            traceback = [text]
        else:
            in_warning = bool(WARNING.search(text))
            said = PREFIX.sub("", text)
            in_dump = said == INPUT_DUMP
            if said and not (in_dump or in_warning or RULE.match(said) or SDK_LINES.match(said)):
                yield said
    yield from traceback


def _shortened(traceback: list[str]) -> list[str]:
    own = OWN_ERROR.match(traceback[-1])
    return [f"oaml: {traceback[-1][own.end() :]}"] if own else traceback
