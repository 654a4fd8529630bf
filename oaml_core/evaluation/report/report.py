"""`report.html`: one self-contained file that shows what an evaluation found, without a network.

Tables and charts are drawn here and styled by `assets/`; the script only adds read-outs and switches.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from oaml_core.amounts import amount
from oaml_core.evaluation.report import charts, sweep_charts
from oaml_core.evaluation.report.finding import headline_tiles, lead
from oaml_core.evaluation.report.one_threshold_table import one_threshold_table
from oaml_core.evaluation.report.pair_gallery import no_gallery, pair_gallery
from oaml_core.evaluation.report.tables import OPEN_CONDITIONS, accuracy_table, own_table, tar_table, visibility_table
from oaml_core.evaluation.scoring.conditions import CLEAN
from oaml_core.evaluation.statistics.bootstrap import LEVEL
from oaml_core.evaluation.verdict.comparison import ModelComparison
from oaml_core.evaluation.verdict.gate import GateDecision
from oaml_core.evaluation.verdict.results import ConditionResult, Evaluation, SetResult
from oaml_core.whole_file import written_whole


def write_report(
    evaluation: Evaluation,
    path: Path,
    context: Mapping[str, Any] | None = None,
    *,
    title: str = "Evaluation",
    images: bool = True,
    comparison: ModelComparison | None = None,
    gate: GateDecision | None = None,
) -> None:
    """Write the report, by rename.

    Args:
        evaluation: what `evaluate_model` found.
        path: `….html`.
        context: provenance: scalars are listed (fingerprint, checkpoint, …), mappings fold out (config, versions,
            timings, …), as they come.
        title: heading.
        images: embed example pairs; False for faces that must not be shared.
        comparison: with the model in production; None: there is none, or it is this one.
        gate: what the promotion gate makes of the comparison with the model in production.
    """
    assets = resources.files("oaml_core.evaluation.report") / "assets"
    text = string.Template((assets / "template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        css=(assets / "report.css").read_text(encoding="utf-8"),
        js=(assets / "report.js").read_text(encoding="utf-8"),
        lead=escape(lead(evaluation)),
        nav="".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in _navigation(evaluation, comparison, images)),
        tiles=headline_tiles(evaluation),
        sections=_comparison(comparison, gate)
        + "".join(map(_set_section, evaluation.sets.values()))
        + (pair_gallery(evaluation.examples) if images else no_gallery()),
        method=(assets / "method.html").read_text(encoding="utf-8"),
        provenance=provenance(context or {}),
    )
    write_page(text, path)


def write_page(text: str, path: Path) -> None:
    """Write a page, by rename."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _navigation(evaluation: Evaluation, comparison: ModelComparison | None, images: bool) -> Iterable[tuple[str, str]]:
    if comparison is not None:
        yield "champion", "In production"
    for name in evaluation.sets:
        yield f"set-{escape(name)}", escape(name)
    if images and evaluation.examples:
        yield "pairs", "Pairs"
    yield "how", "How it was measured"
    yield "provenance", "Provenance"


def _set_section(result: SetResult) -> str:
    genuine = int(result.issame.sum())
    names = result.score_names
    told = "named by the set" if result.identities.source == "given" else "inferred from equal images and genuine pairs"
    return f"""<section id="set-{escape(result.name)}"><h2>{escape(result.name)}</h2>
<p class="note">{amount(result.issame.size, "pair")}, {genuine:,} genuine and {result.issame.size - genuine:,}
impostor, of {amount(result.people, "person", "people")} ({told}). {_rule(result)} Scored in {result.seconds:.1f} s.</p>
{_sweep(result)}
<h3>Accuracy in %</h3>{_dots(result)}{accuracy_table(result)}
<h3>ROC</h3>
<p class="note">TAR in % against FAR on a log scale. Point at a curve, or focus it and use the arrow
keys, to read it.</p>
{_legend(names)}{_figures(result, lambda c: charts.roc_chart(c, names))}
<h3>DET</h3>
<p class="note">False rejects against false accepts, both on log scales.</p>
{_legend(names)}{_figures(result, lambda c: charts.det_chart(c, names))}
<h3>TAR at FAR in %</h3>
<p class="note">At the threshold that each condition's own impostor pairs give; in brackets 95 % intervals over
identities.</p>
{tar_table(result)}
<h3>One threshold for all conditions</h3>
{one_threshold_table(result, names)}
{own_table(result)}
<h3>Scores of genuine and impostor pairs</h3>{_legend(("genuine", "impostor"))}
<p class="note">The dashed line is the threshold, the mean over the folds.</p>{_histograms(result)}
{_maps(result)}</section>"""


def _rule(result: SetResult) -> str:
    """Say in a sentence how the scores are combined."""
    rule = result.rule
    if rule is None:
        return "There is a global score alone."
    fallback = ", the fallback for a local score that decides worse than a coin" if rule.fallback else ""
    return f"Combined score: {rule.global_weight:g} · global + {rule.local_weight:g} · local, normalised{fallback}."


def _maps(result: SetResult) -> str:
    """Return what the visibility maps are worth; nothing where the recogniser has none."""
    if result.rule is None:
        return ""
    return f"""<h3>Visibility maps</h3>
<p class="note">Predicted against drawn: IoU of the places that are covered, mean absolute error of the map, and how far
predicted visibility is from the true share on average (calibration).</p>
<div class="beside">{sweep_charts.reliability_chart(result)}{visibility_table(result)}</div>"""


def _sweep(result: SetResult) -> str:
    """Return the headline: what covering costs, and what the local score wins back."""
    drawn = sweep_charts.sweep_charts(result, result.score_names)
    if not drawn:
        return ""
    return f"""<h3>What covering costs</h3>
<p class="note">In % against the covered share of the image. Lines: blocks of growing size; dots: occluders. Bands and
bars are 95 % intervals over identities.</p>{_legend(result.score_names)}<div class="grid-of wide">{drawn}</div>"""


def _dots(result: SetResult) -> str:
    """Return accuracies as dots, unless there are so many conditions that the sweep shows them better."""
    if len(result.conditions) > 2 * OPEN_CONDITIONS:
        return ""
    return _legend(result.score_names) + charts.accuracy_dots(result.conditions, result.score_names)


def _figures(result: SetResult, draw: Callable[[ConditionResult], str]) -> str:
    """Return a figure for each condition; the first few are open, the others fold out."""
    figures = [draw(condition) for condition in result.conditions.values()]
    shown = f'<div class="grid-of">{"".join(figures[:OPEN_CONDITIONS])}</div>'
    rest = figures[OPEN_CONDITIONS:]
    if not rest:
        return shown
    return (
        f"{shown}<details><summary>{amount(len(rest), 'more condition')}</summary>"
        f'<div class="grid-of">{"".join(rest)}</div></details>'
    )


def _histograms(result: SetResult) -> str:
    drawn = {
        condition.name: "".join(
            charts.histogram_chart(s, condition.scores[s], result.issame) for s in result.score_names[:3]
        )
        for condition in result.conditions.values()
    }
    shown = f'<div class="grid-of">{drawn.pop(CLEAN.name)}</div>'
    if not drawn:
        return shown
    rest = "".join(f'<h4>{escape(name)}</h4><div class="grid-of">{figures}</div>' for name, figures in drawn.items())
    return f"{shown}<details><summary>{amount(len(drawn), 'more condition')}</summary>{rest}</details>"


def _comparison(comparison: ModelComparison | None, gate: GateDecision | None) -> str:
    if comparison is None:
        return ""
    combined = [d for d in comparison.differences if d.score == "combined"]
    verdicts = [sum(d.verdict == kind for d in combined) for kind in ("better", "worse", "not distinguishable")]
    telling = [d for d in combined if d.condition == CLEAN.name or d.verdict != "not distinguishable"]
    rest = [d for d in combined if d not in telling]
    bars = sweep_charts.difference_bars(telling) if telling else "<p>Nothing was measured with both models.</p>"
    if rest:
        folded = sweep_charts.difference_bars(rest)
        bars += f"<details><summary>{amount(len(rest), 'condition')} that do not tell them "
        f"apart</summary>{folded}</details>"
    lost = "".join(f"<li>{escape(str(one))}</li>" for one in comparison.incomparable)
    return f"""<section id="champion"><h2>Against the model in production</h2>
<p class="lead">Version {escape(comparison.champion)}: better in {verdicts[0]}, worse in {verdicts[1]}, not
distinguishable in {verdicts[2]} of {len(combined)} conditions.{_judgement(gate)}</p>
<p class="note">Combined score, accuracy of this model less that of the one in production, in points, on the same pairs.
Better or worse: the paired bootstrap over identities and McNemar's test both show it, at {100 * LEVEL:g} %.</p>
{bars}{f"<p>Not compared:</p><ul>{lost}</ul>" if lost else ""}</section>"""


def _judgement(gate: GateDecision | None) -> str:
    if gate is None:
        return ""
    return f" The promotion gate {'lets it pass' if gate.passes else 'refuses it'}: {escape(gate.reason)}."


def _legend(names: Iterable[str]) -> str:
    keys = "".join(f'<span><i class="key {name}"></i>{name}</span>' for name in names)
    return f'<div class="legend">{keys}</div>'


def provenance(context: Mapping[str, Any]) -> str:
    """Scalars as a list, mappings and sequences to unfold."""
    scalars = {key: value for key, value in context.items() if not isinstance(value, (Mapping, list, tuple))}
    timings = context.get("seconds")
    if isinstance(timings, Mapping):
        scalars["seconds"] = ", ".join(f"{name} {value:.1f}" for name, value in timings.items())
    listed = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in scalars.items())
    folded = "".join(
        f"<details><summary>{escape(str(key))}</summary>"
        f"<pre>{escape(json.dumps(value, indent=2, default=str))}</pre></details>"
        for key, value in context.items()
        if key not in scalars
    )
    return f"<dl>{listed}</dl>{folded}"
