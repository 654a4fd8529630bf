"""What the checks found, as a table, as JSON, and as a verdict."""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
from dataclasses import dataclass, field
from typing import Literal

from oaml_core.folder_entries import shown

Verdict = Literal["ok", "warning", "stop"]
LISTED = 10
"""Examples that the table names; `checks.json` names all."""


@dataclass(frozen=True)
class Finding:
    """One line of the report's table."""

    check: str
    result: str
    verdict: Verdict = "ok"
    remedy: str = ""
    """What to do, where the verdict is not ok."""


@dataclass(frozen=True)
class SetAside:
    """An image that is not used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same picture."""

    image: str
    other: str
    """A training image, or `<verification set> image <number>`."""
    distance: int | None
    """Bits of 128 in which the perceptual hashes differ; None: the files are equal to the last byte."""


@dataclass(frozen=True)
class CheckReport:
    """Results of all checks on a source."""

    source: str
    findings: list[Finding]
    set_aside: list[SetAside] = field(default_factory=list)
    """The quarantine list: training images and pairs that are left out, each with the reason."""
    duplicates: list[Duplicate] = field(default_factory=list)
    mask_coverage: list[int] = field(default_factory=list)
    """Masks by the share of the image that is visible, in ten bins from 0 to 1."""

    @property
    def reasons(self) -> list[str]:
        """Reasons why training must not start; empty if it may."""
        return [_in_one_line(finding) for finding in self.findings if finding.verdict == "stop"]

    @property
    def warnings(self) -> list[str]:
        """Faults in spite of which training may start."""
        return [_in_one_line(finding) for finding in self.findings if finding.verdict == "warning"]

    @property
    def must_not_train(self) -> bool:
        """Return True if a finding forbids training: the command line's exit code is then not 0."""
        return bool(self.reasons)

    def to_json(self) -> str:
        """Return all findings with all examples: the content of `checks.json`."""
        content = dataclasses.asdict(self) | {"must_not_train": self.must_not_train}
        del content["source"]  # the same data has the same checks.json wherever it lies
        return json.dumps(content, indent=1)

    def _verdict(self) -> str:
        if not self.must_not_train:
            return "training may start"
        stops = list(dict.fromkeys(finding.check for finding in self.findings if finding.verdict == "stop"))
        return f"training must not start: mend what stops it ({', '.join(stops)}), then run this again"

    def table(self) -> str:
        """Return the findings for a terminal, as wide as it is."""
        width = min(120, shutil.get_terminal_size((100, 24)).columns)
        first = max(len(finding.check) for finding in self.findings)
        lines = [f"checks of {shown(self.source)}"]
        for finding in self.findings:
            lines += _row(finding, first, width)
        lines += _examples("set aside", [f"{item.name}: {item.reason}" for item in self.set_aside])
        lines += _examples("seen twice", [_twice(item) for item in self.duplicates])
        lines.append(self._verdict())
        return "\n".join(lines)


def _in_one_line(finding: Finding) -> str:
    return shown(f"{finding.check}: {_in_sentences(finding)}")


def _in_sentences(finding: Finding) -> str:
    return f"{finding.result}. {finding.remedy}".rstrip(". ") + "."


MARKS: dict[Verdict, str] = {"ok": "ok  ", "warning": "WARN", "stop": "STOP"}


def _row(finding: Finding, first: int, width: int) -> list[str]:
    head = f"  {MARKS[finding.verdict]}  {finding.check:<{first}}  "
    text = finding.result if finding.verdict == "ok" else _in_sentences(finding)
    wrapped = textwrap.wrap(shown(text), max(30, width - len(head))) or [""]
    return [head + wrapped[0], *(" " * len(head) + line for line in wrapped[1:])]


def _examples(what: str, items: list[str]) -> list[str]:
    lines = [f"  {what}: {shown(item)}" for item in items[:LISTED]]
    if len(items) > LISTED:
        lines.append(f"  {what}: {len(items) - LISTED:,} more in checks.json")
    return lines


def _twice(item: Duplicate) -> str:
    how = "the same file" if item.distance is None else f"looks the same, {item.distance} of 128 bits differ"
    return f"{item.image} and {item.other} ({how})"
