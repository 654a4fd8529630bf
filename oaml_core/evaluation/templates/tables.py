"""Tables of the templates' benchmark, as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oaml_core.amounts import amount
from oaml_core.evaluation.report.report import write_page
from oaml_core.evaluation.templates.benchmark import TemplateFigures
from oaml_core.evaluation.templates.protocols import Search
from oaml_core.evaluation.verdict.metrics_json import write_json
from oaml_core.printable_names import shown


def write_templates(found: Mapping[str, TemplateFigures], folder: Path) -> list[Path]:
    """Write `templates.json` and `templates.md`, figures by model; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "templates.json", folder / "templates.md"]
    write_json({name: one.as_json() for name, one in found.items()}, written[0])
    write_page(markdown(found), written[1])
    return written


def markdown(found: Mapping[str, TemplateFigures]) -> str:
    """Return all tables, by model."""
    lines = []
    for model, one in found.items():
        lines += [
            f"## {shown(f'{model} on {one.name}')}",
            "",
            f"{amount(one.images, 'image')} in {amount(one.templates, 'template')}.",
            "",
        ]
        if one.pairs is not None:
            lines += [
                f"1:1, {one.pairs.genuine:,} genuine and {amount(one.pairs.impostors, 'impostor pair')}, AUC "
                f"{one.pairs.auc:.4f}; TAR in %. Published: at the nearest FAR. Exact: at a FAR that is not exceeded.",
                "",
                "| FAR | published | exact |",
                "|---|---|---|",
                *(
                    f"| {far:g} | {_percent(rate)} | {_percent(one.pairs.exact[far])} |"
                    for far, rate in one.pairs.published.items()
                ),
                "",
            ]
        searches = {**({"published, galleries as one": one.published} if one.published else {}), **one.open_set}
        if searches:
            lines += [*_search_table(searches), ""]
        lines += [f"{note}\n" for note in one.notes]
    lines.append("The global score alone; no interval is given, for pairs share their templates.")
    return "\n".join(lines)


def _search_table(searches: Mapping[str, Search]) -> list[str]:
    first = next(iter(searches.values()))
    head = ["search", *(f"rank {k}" for k in first.rank), *(f"TPIR at FPIR {fpir:g}" for fpir in first.tpir)]
    columns = [*head, "probes", "strangers", "enrolled"]
    lines = ["1:N, in %.", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, one in searches.items():
        rates = [_percent(rate) for rate in (*one.rank.values(), *one.tpir.values())]
        counts = [f"{count:,}" for count in (one.probes, one.strangers, one.gallery)]
        lines.append(f"| {' | '.join([name, *rates, *counts])} |")
    return lines


def _percent(rate: float | None) -> str:
    return "not measurable" if rate is None else f"{100 * rate:.2f}"
