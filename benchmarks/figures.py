"""Figures of a benchmark as JSON, and the tables of RESULTS.md made from it.

    python -m benchmarks.figures            # write every table of benchmarks/RESULTS.md that has a file again
    python -m benchmarks.figures --check    # say whether a table differs from its file

A table stands between `<!-- figures/NAME.json -->` and `<!-- end -->`. Nobody edits it: text and figures cannot drift
apart.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent / "figures"
RESULTS = Path(__file__).parent / "RESULTS.md"
TABLE = re.compile(r"(<!-- figures/(?P<name>[\w-]+)\.json -->\n).*?(<!-- end -->)", re.DOTALL)

Cell = str | int | float | None
"""None: not measured."""


@dataclass(frozen=True)
class FigureTable:
    """One table."""

    command: str
    """Command that measures the figure again."""
    machine: str
    libraries: dict[str, str]
    """Versions by name."""
    columns: list[str]
    rows: list[list[Cell]]
    day: str = ""
    """Day of the measurement, `2026-11-30`; empty: not noted."""


def measured(
    command: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], libraries: Sequence[str]
) -> FigureTable:
    """Return figures with what they were measured on.

    Args:
        command: that measures them again.
        columns: names, with their units.
        rows: a cell per column.
        libraries: names of the packages whose versions matter.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"The row {row} has {len(row)} cells for {len(columns)} columns.")
    known = list(columns), [list(row) for row in rows], datetime.now(UTC).date().isoformat()
    return FigureTable(command, _machine(), _versions(libraries), *known)


class Sheet:
    """Figures in words, told one after the other and kept for a table."""

    def __init__(self) -> None:
        self.rows: list[list[Cell]] = []

    def say(self, what: str, figure: str) -> None:
        """Print a figure, and keep it."""
        self.rows.append([what, figure])
        print(f"{what:<72} {figure}", flush=True)

    def save(self, module: str, words: Sequence[str], libraries: Sequence[str], out: Path | None) -> None:
        """Write what was told.

        Args:
            module: of the benchmark.
            words: its arguments; `--out` and the folders before names stay out of the table.
            libraries: names of the packages whose versions matter.
            out: `figures/NAME.json`; None: nothing is written.
        """
        if out is not None:
            write(measured(command(module, words), ["what", "figure"], self.rows, libraries), out)


def command(module: str, words: Sequence[str]) -> str:
    """Return the command of a table.

    Args:
        module: of the benchmark.
        words: its arguments; `--out` and the folders before names stay out.
    """
    kept = [word for number, word in enumerate(words) if "--out" not in (word, words[number - 1] if number else "")]
    shown = [Path(word).name if Path(word).exists() else word for word in kept]
    return f"python -m {module} {shlex.join(shown)}".rstrip()


def write(figures: FigureTable, path: Path) -> None:
    """Write figures as JSON.

    Args:
        figures: what was measured.
        path: `figures/NAME.json` for a table of RESULTS.md.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(figures), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> FigureTable:
    """Return the figures of a file that `write` wrote."""
    return FigureTable(**json.loads(path.read_text(encoding="utf-8")))


def table(figures: FigureTable) -> str:
    """Return figures as a Markdown table, and a line about how they were measured."""
    lines = [figures.columns, ["---"] * len(figures.columns), *([_shown(cell) for cell in row] for row in figures.rows)]
    used = ", ".join(f"{name} {number}" for name, number in figures.libraries.items())
    source = "; ".join(filter(None, [f"`{figures.command}`", figures.machine, used, figures.day]))
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", f"{source}."])


def filled(text: str, folder: Path | None = None) -> str:
    """Return a Markdown text with every table made from its file again.

    Args:
        text: with markers.
        folder: of the files; None: `benchmarks/figures`.

    Raises:
        FileNotFoundError: a marker names a file that is not there.
    """

    def made(found: re.Match[str]) -> str:
        figures = read((folder or FOLDER) / f"{found['name']}.json")
        return f"{found[1]}\n{table(figures)}\n\n{found[3]}"

    return TABLE.sub(made, text)


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell + 0.0:.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"  # −0 is 0
    return f"{cell:,}" if isinstance(cell, int) else cell


def _machine() -> str:
    known = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", known.read_text(encoding="utf-8")) if known.is_file() else []
    return names[0].strip() if names else platform.machine()


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the tables; return 1 if `--check` finds one that differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    text = RESULTS.read_text(encoding="utf-8")
    made = filled(text)
    if options.check:
        if made != text:
            print("benchmarks/RESULTS.md differs from benchmarks/figures; run `python -m benchmarks.figures`.")
        return int(made != text)
    RESULTS.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
