"""`report.html`: one self-contained file that shows what an evaluation found."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oaml_core.evaluation.results import SCORES, Evaluation, SetResult


def write_report(
    evaluation: Evaluation, path: Path, context: Mapping[str, Any] | None = None, *, images: bool = True
) -> None:
    """Write the report, by rename.

    Args:
        evaluation: what `evaluate_model` found.
        path: `….html`.
        context: shown as it is: fingerprint, config, versions, timings …
        images: embed example pairs; False for faces that must not be shared.
    """
    body = "".join(_set_section(result) for result in evaluation.sets.values())
    about = html.escape(json.dumps(dict(context or {}), indent=1, default=str))
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>OAML evaluation</title>'
        f"<h1>OAML evaluation</h1>{body}<pre>{about}</pre></html>"
    )
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _set_section(result: SetResult) -> str:
    head = "".join(f"<th>{score}</th>" for score in SCORES)
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{100 * condition.scores[score].accuracy:.2f} %</td>" for score in SCORES)
        + "</tr>"
        for name, condition in result.conditions.items()
    )
    return f"<h2>{html.escape(result.name)}</h2><table><tr><th></th>{head}</tr>{rows}</table>"
