"""Tables of the benchmark as Markdown, and with its charts as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from pathlib import Path

from oaml_core.amounts import amount
from oaml_core.evaluation.covered.benchmark import Covered, ModelFigures
from oaml_core.evaluation.covered.charts import charts, legend
from oaml_core.evaluation.covered.judge import Figures
from oaml_core.evaluation.report.report import write_page
from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.evaluation.verdict.metrics_json import write_json
from oaml_core.folder_entries import shown
from oaml_core.printable_names import in_cell

Row = list[str]


def write_covered(found: Covered, folder: Path) -> list[Path]:
    """Write `covered.json`, `covered.md` and `covered.html`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"covered.{ending}" for ending in ("json", "md", "html")]
    write_json(found.as_json(), written[0])
    write_page(markdown(found), written[1])
    css = (resources.files("oaml_core.evaluation.report") / "assets" / "report.css").read_text(encoding="utf-8")
    write_page(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Covered faces</title><style>{css}</style>'
        f"<body><main><h1>Covered faces</h1>{''.join(_html(found))}</main></body></html>\n",
        written[2],
    )
    return written


def markdown(found: Covered) -> str:
    """Return all tables of the benchmark as Markdown."""
    lines = []
    for title, note, head, rows in _tables(found):
        lines += [f"## {title}", "", note, "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        lines += [f"| {' | '.join(map(in_cell, row))} |" for row in rows] + [""]
    return "\n".join(lines)


def _html(found: Covered) -> Iterator[str]:
    yield from _charts(found)
    for title, note, head, rows in _tables(found):
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        yield (
            f'<section><h2>{escape(title)}</h2><p class="note">{escape(note)}</p><div class="scroll"><table><thead>'
            f"<tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></section>"
        )
    sets = json.dumps(found.sets, indent=1)
    yield f"<section><h2>Sets</h2><pre>{escape(sets)}</pre></section>"


def _charts(found: Covered) -> Iterator[str]:
    for model, sets in found.models.items():
        for name, figures in sets.items():
            if not figures.figures:
                continue
            drawn = "".join(
                f"<h3>{escape(title)}</h3>{chart}"
                for title, chart in charts(figures, found.sets[name]["covered_share"], found.far)
            )
            yield f"<section><h2>{escape(shown(f'{model} on {name}'))}</h2>{legend(figures)}{drawn}</section>"


def _tables(found: Covered) -> Iterator[tuple[str, str, Row, list[Row]]]:
    """Title, note, head and rows of each table: own thresholds, then one threshold, for every model and set."""
    for model, sets in found.models.items():
        for name, figures in sets.items():
            told, subject = found.sets[name], shown(f"{model} on {name}")
            besides = f" (uncovered: {_counted(told['uncovered'])})" if "uncovered" in told else ""
            size = (
                f"{_counted(told)}{besides} of {told['people']:,} people. In brackets 95 % "
                "intervals over people, of differences paired."
            )
            yield (
                f"{subject}: TAR at FAR {found.far:g} in %",
                f"At the threshold of each condition's own impostors. {size}",
                [
                    "condition",
                    "covered",
                    "score",
                    "TAR",
                    "against global",
                    "won back",
                    "map IoU",
                    "against first model",
                ],
                list(_own_rows(figures, told["covered_share"])),
            )
            yield (
                f"{subject}: one threshold",
                f"Set on the uncovered pairs for FAR {found.far:g}; TAR in %, real FAR in ‰. ↑: its whole interval "
                "lies above the rate asked for.",
                ["condition", "score", "TAR", "real FAR"],
                list(_one_threshold_rows(figures, found.far)),
            )


def _counted(told: Mapping[str, int]) -> str:
    return f"{told['genuine']:,} genuine and {amount(told['impostors'], 'impostor pair')}"


def _own_rows(figures: ModelFigures, shares: dict[str, float]) -> Iterator[Row]:
    for condition, scores in figures.figures.items():
        for score, one in scores.items():
            first = score == next(iter(scores))
            yield [
                condition if first else "",
                f"{100 * shares[condition]:.0f} %" if first and condition in shares else "",
                score,
                _share(one.tar),
                _signed(one.against_global),
                "" if one.won_back is None else _share(one.won_back, 0),
                f"{figures.iou[condition]:.2f}" if first and condition in figures.iou else "",
                _signed(figures.against_first.get(condition)) if first else "",
            ]


def _one_threshold_rows(figures: ModelFigures, far: float) -> Iterator[Row]:
    for condition, scores in figures.figures.items():
        for number, (score, one) in enumerate(scores.items()):
            yield ["" if number else condition, score, _share(one.one_threshold_tar), _per_mille(one, far)]


def _per_mille(one: Figures, far: float) -> str:
    value, low, high = (f"{1000 * share:.2f}" for share in one.real_far)
    return f"{value} ({low} … {high}){' ↑' if one.real_far.low > far else ''}"


def _share(one: Interval, digits: int = 1) -> str:
    value, low, high = (f"{100 * share:.{digits}f}".replace("-", "−") for share in one)
    return f"{value} ({low} … {high})"


def _signed(one: Interval | None) -> str:
    if one is None:
        return ""
    value, low, high = (f"{100 * share:+.1f}".replace("-", "−") for share in one)
    return f"{value} ({low} … {high})"
