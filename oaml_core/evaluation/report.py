"""`report.html`: one self-contained file that shows what an evaluation found, without a network.

Tables and charts are drawn here and styled by `report_assets/`; the script only adds read-outs and switches.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from oaml_core.evaluation import charts
from oaml_core.evaluation.bootstrap import Interval
from oaml_core.evaluation.conditions import CLEAN
from oaml_core.evaluation.pictures import pair_svg
from oaml_core.evaluation.results import (
    SCORES,
    ConditionResult,
    Evaluation,
    Example,
    SetResult,
    headline,
)
from oaml_core.evaluation.roc import TarAtFar


def write_report(
    evaluation: Evaluation,
    path: Path,
    context: Mapping[str, Any] | None = None,
    *,
    title: str = "Evaluation",
    images: bool = True,
) -> None:
    """Write the report, by rename.

    Args:
        evaluation: what `evaluate_model` found.
        path: `….html`.
        context: provenance: scalars are listed (fingerprint, checkpoint, …), mappings fold out (config, versions,
            timings, …), as they come.
        title: heading.
        images: embed example pairs; False for faces that must not be shared.
    """
    assets = resources.files("oaml_core.evaluation") / "report_assets"
    text = string.Template((assets / "template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        css=(assets / "report.css").read_text(encoding="utf-8"),
        js=(assets / "report.js").read_text(encoding="utf-8"),
        lead=escape(lead(evaluation)),
        nav="".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in _navigation(evaluation, images)),
        tiles=_tiles(evaluation),
        sections="".join(map(_set_section, evaluation.sets.values()))
        + (_gallery(evaluation.examples) if images else _no_gallery()),
        method=(assets / "method.html").read_text(encoding="utf-8"),
        provenance=_provenance(context or {}),
    )
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def lead(evaluation: Evaluation) -> str:
    """The finding in two sentences, whichever way it went."""
    found = headline(evaluation)
    clean = found["val_accuracy_clean_combined"]
    opening = f"On clean pairs the combined score decides {100 * clean:.2f} % rightly."
    if "val_accuracy_occluded_combined" not in found:
        return f"{opening} No occluder was drawn."
    combined, alone = found["val_accuracy_occluded_combined"], found["val_accuracy_occluded_global"]
    gain = 100 * (combined - alone)
    verdict = "more" if gain > 0 else "fewer"
    comparison = f"{abs(gain):.2f} points {verdict} than" if abs(gain) >= 0.005 else "as many as"
    return (
        f"{opening} With one face of each pair covered it is {100 * combined:.2f} %, {comparison} the global "
        f"score alone ({100 * alone:.2f} %)."
    )


def _navigation(evaluation: Evaluation, images: bool) -> Iterable[tuple[str, str]]:
    for name in evaluation.sets:
        yield f"set-{escape(name)}", escape(name)
    if images and evaluation.examples:
        yield "pairs", "Pairs"
    yield "how", "How it was measured"
    yield "provenance", "Provenance"


def _tiles(evaluation: Evaluation) -> str:
    found = headline(evaluation)
    tiles = [_tile(f"{100 * found['val_accuracy_clean_combined']:.2f} %", "accuracy, clean, combined score")]
    if "val_accuracy_occluded_combined" in found:
        combined, alone = found["val_accuracy_occluded_combined"], found["val_accuracy_occluded_global"]
        gain = 100 * (combined - alone)
        kind = "good" if gain > 0 else "bad" if gain < 0 else ""
        tiles += [
            _tile(f"{100 * combined:.2f} %", "accuracy, one face covered, combined score"),
            _tile(f"{gain:+.2f}".replace("-", "−"), "points against the global score, one face covered", kind),
            _tile(
                f"{100 * found['val_visibility_iou']:.0f} %",
                "overlap (IoU) of covered places, predicted and drawn",
            ),
        ]
    return "".join(tiles)


def _tile(value: str, meaning: str, kind: str = "") -> str:
    return f'<div class="tile {kind}"><b>{value}</b><span>{meaning}</span></div>'


def _set_section(result: SetResult) -> str:
    genuine = int(result.issame.sum())
    conditions = result.conditions.values()
    rocs = "".join(charts.roc_chart(condition, SCORES) for condition in conditions)
    histograms = "".join(
        f"<details{' open' if len(conditions) <= 3 or condition.name == CLEAN.name else ''}>"
        f"<summary>{escape(condition.name)}</summary>"
        + '<div class="grid-of">'
        + "".join(charts.histogram_chart(s, condition.scores[s], result.issame) for s in SCORES[:3])
        + "</div></details>"
        for condition in conditions
    )
    rule = result.rule
    fallback = ", the fallback for a local score that decides worse than a coin" if rule.fallback else ""
    weights = f"{rule.global_weight:g} · global + {rule.local_weight:g} · local, normalised{fallback}"
    return f"""<section id="set-{escape(result.name)}"><h2>{escape(result.name)}</h2>
<p class="note">{result.issame.size:,} pairs, {genuine:,} genuine and {result.issame.size - genuine:,} impostor.
Combined score: {weights}. Scored in {result.seconds:.1f} s.</p>
{_legend(SCORES)}{charts.accuracy_dots(result.conditions, SCORES)}
<h3>Accuracy in %</h3>{_accuracy_table(result)}
<h3>ROC</h3>
<p class="note">TAR in % against FAR on a log scale. Point at a curve, or focus it and use the arrow
keys, to read it.</p>
{_legend(SCORES)}<div class="grid-of">{rocs}</div>
<h3>TAR at FAR in %</h3>{_tar_table(result)}
<h3>Scores of genuine and impostor pairs</h3>{_legend(("genuine", "impostor"))}
<p class="note">The dashed line is the threshold, the mean over the folds.</p>{histograms}
<h3>Visibility maps</h3>{_visibility_table(result)}</section>"""


def _legend(names: Iterable[str]) -> str:
    keys = "".join(f'<span><i class="key {name}"></i>{name}</span>' for name in names)
    return f'<div class="legend">{keys}</div>'


def _accuracy_table(result: SetResult) -> str:
    head = "".join(f"<th>{score}</th>" for score in SCORES)
    rows = []
    for name, condition in result.conditions.items():
        best = max(found.accuracy for found in condition.scores.values())
        cells = "".join(
            f"<td{' class=best' if found.accuracy == best else ''}>{100 * found.accuracy:.2f} "
            f"<small>± {100 * found.accuracy_std:.2f}</small></td>"
            for found in condition.scores.values()
        )
        published = condition.scores["global"].accuracy_published
        last = "" if published is None else f"{100 * published:.2f}"
        gain = _gain(condition.scores["combined"].against_global)
        rows.append(f"<tr><th>{escape(name)}</th>{cells}<td>{gain}</td><td>{last}</td></tr>")
    return _table(
        f"<th>condition</th>{head}<th>combined − global<br>(95 % interval)</th><th>global,<br>published protocol</th>",
        rows,
    )


def _gain(interval: Interval | None) -> str:
    if interval is None:
        return ""
    points = [f"{100 * value:+.2f}".replace("-", "−") for value in interval]
    return f"{points[0]} <small>({points[1]} … {points[2]})</small>"


def _tar_table(result: SetResult) -> str:
    points = next(iter(result.conditions.values())).scores["global"].tar_at_far
    measured = [point.measurable for point in points]
    head = "".join(f"<th>{charts.rate_label(point.far)}</th>" for point in points if point.measurable)
    rows = [
        f'<tr><th>{escape(name)}</th><td><i class="key {score}"></i>{score}</td>'
        + "".join(f"<td>{100 * point.tar:.2f}</td>" for point in found.tar_at_far if point.tar is not None)
        + "</tr>"
        for name, condition in result.conditions.items()
        for score, found in condition.scores.items()
    ]
    table = _table(f'<th>condition</th><th class="left">score</th>{head}', rows) if any(measured) else ""
    return table + _not_measurable([point for point in points if not point.measurable])


def _not_measurable(points: list[TarAtFar]) -> str:
    if not points:
        return ""
    rates = ", ".join(charts.rate_label(point.far) for point in points)
    return (
        f'<p class="note">Not measurable: FAR {rates}. These impostor pairs measure rates down to '
        f"1 / {round(1 / points[0].smallest_far):,} = {points[0].smallest_far:.2g}.</p>"
    )


def _visibility_table(result: SetResult) -> str:
    rows = [
        f"<tr><th>{escape(name)}</th><td>{100 * condition.covered_share:.1f} %</td>"
        f"<td>{_iou(condition)}</td>"
        f"<td>{condition.visibility_mae:.3f}</td></tr>"
        for name, condition in result.conditions.items()
    ]
    head = "<th>condition</th><th>image covered</th><th>IoU of covered places</th><th>mean absolute error</th>"
    return _table(head, rows)


def _iou(condition: ConditionResult) -> str:
    if condition.visibility_iou is None or condition.name == CLEAN.name:
        return "–"
    return f"{100 * condition.visibility_iou:.1f} %"


def _table(head: str, rows: Iterable[str]) -> str:
    body = f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>{body}</table></div>'


def _gallery(examples: list[Example]) -> str:
    if not examples:
        return ""
    typical = [example for example in examples if example.kind == "typical"]
    errors = [example for example in examples if example.kind != "typical"]
    hardest = "".join(map(_pair, errors)) or "<p>The combined score made no error.</p>"
    return f"""<section id="pairs"><h2>Pairs</h2>
<p class="note">Pink: what the model takes for covered. Lines: places that are each other's best match, the
thicker the stronger.</p>
<div class="switches"><label><input type="checkbox" checked data-off="no-maps"> visibility maps</label>
<label><input type="checkbox" checked data-off="no-lines"> correspondences</label></div>
<h3>Typical pairs</h3><div class="pairs">{"".join(map(_pair, typical))}</div>
<h3>Hardest errors of the combined score</h3><div class="pairs">{hardest}</div></section>"""


def _no_gallery() -> str:
    return '<section><h2>Pairs</h2><p class="note">Left out: these faces are not to be shared.</p></section>'


def _pair(example: Example) -> str:
    kind = "genuine" if example.genuine else "impostor"
    verdict, side = (f"{kind} pair", "right") if example.kind == "typical" else (example.kind, "wrong")
    scores = " · ".join(f"{name} {value:.2f}" for name, value in example.scores.items())
    return (
        f'<figure class="pair"><figcaption><span class="verdict {side}">{verdict}</span>'
        f"<small>{escape(example.caption)}</small></figcaption>"
        f"{pair_svg(example.pair, kind.title())}<p>{scores}</p></figure>"
    )


def _provenance(context: Mapping[str, Any]) -> str:
    scalars = {key: value for key, value in context.items() if not isinstance(value, (Mapping, list, tuple))}
    listed = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in scalars.items())
    folded = "".join(
        f"<details><summary>{escape(str(key))}</summary>"
        f"<pre>{escape(json.dumps(value, indent=2, default=str))}</pre></details>"
        for key, value in context.items()
        if key not in scalars
    )
    return f"<dl>{listed}</dl>{folded}"
