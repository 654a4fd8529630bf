"""`restoration.html` and `restoration.json`: before, after, uncertainty, and the tables.

The JSON: `rows`, one a condition and method (`psnr` and `ssim` against the truth, data range 2; `chi_square` of one
posterior sample, 1 where it explains the measurement to within its noise; `coverage` of the 90 % intervals), and
`recognition`, one a kind of second face: `pairs`, `impostors`, `auc`, `far`, and the figures of `RecognitionRow` as
[value, low, high] with 95 % intervals.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from oaml_core.evaluation.report.finding import tile
from oaml_core.evaluation.report.report import provenance, write_page
from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.evaluation.verdict.metrics_json import write_json
from oaml_core.restoration.evaluate import (
    CAMERAS,
    CLASSICAL,
    COVERAGE_LEVEL,
    MEASURED,
    ONE_SAMPLE,
    RESTORED,
    RecognitionRow,
    RestorationEvaluation,
    Row,
)
from oaml_core.restoration.report_pictures import compared_pictures

METHOD = """<p>Clean tiles that the prior did not learn from are measured by simulation: photo-electrons at white and
read noise of {cameras}; condition “covered” hides the middle third of the tile. PSNR and SSIM are against the clean
tile, after clipping, data range 2. χ² per pixel compares a posterior sample with the measurement: 1 if it explains it
to within its noise. Coverage is the share of pixels whose true value lies in the {level:.0f} % posterior interval.
Non-local means works on the variance-stabilised tile and knows the noise, as the prior does.</p>"""


def write_restoration_report(
    found: RestorationEvaluation, page: Path, numbers: Path, context: Mapping[str, Any], title: str
) -> None:
    """Write both files, each by rename.

    Args:
        found: what `evaluate_tiles` found.
        page: `….html`, self-contained.
        numbers: `….json`.
        context: provenance.
        title: heading.
    """
    rows, recognition = ([asdict(row) for row in some] for some in (found.rows, found.recognition))
    write_json({"rows": rows, "recognition": recognition}, numbers)
    assets = resources.files("oaml_core.evaluation.report") / "assets"
    own = resources.files("oaml_core.restoration") / "assets"
    sections = [("tables", "Figures", _table(found.rows)), ("pictures", "Pictures", compared_pictures(found.pictures))]
    if found.recognition:
        sections.insert(1, ("recognition", "What it does to recognition", _recognition(found.recognition)))
    text = string.Template((assets / "template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        css=_text(assets / "report.css", own / "compare.css"),
        js=_text(assets / "report.js", own / "compare.js"),
        lead=escape(lead(found)),
        nav="".join(f'<a href="#{anchor}">{name}</a>' for anchor, name, _ in sections),
        tiles=_tiles(found),
        sections="".join(f'<section id="{anchor}"><h2>{name}</h2>{body}</section>' for anchor, name, body in sections),
        method=METHOD.format(
            cameras=", ".join(
                f"{1 / noise.a:.0f} and {noise.b**0.5 / noise.a:.0f} ({n})" for n, noise in CAMERAS.items()
            ),
            level=100 * COVERAGE_LEVEL,
        ),
        provenance=provenance({**context, "seconds of sampling": found.seconds}),
    )
    write_page(text, page)


def lead(found: RestorationEvaluation) -> str:
    """Return the finding in two sentences, whichever way it went."""
    gains = [f"{found.of(name, RESTORED).psnr - found.of(name, MEASURED).psnr:+.1f} dB ({name})" for name in CAMERAS]
    others = [f"{found.of(name, RESTORED).psnr - found.of(name, CLASSICAL).psnr:+.1f} dB" for name in CAMERAS]
    return f"Restored against measured: {', '.join(gains)}. Against non-local means: {', '.join(others)}."


def _tiles(found: RestorationEvaluation) -> str:
    dark, sample = found.of("dark", RESTORED), found.of("dark", ONE_SAMPLE)
    covers = (
        "" if dark.coverage is None else tile(f"{100 * dark.coverage:.0f} %", "coverage of the 90 % interval, dark")
    )
    return (
        tile(f"{dark.psnr:.1f} dB", "PSNR, dark exposure, restored")
        + tile(f"{sample.chi_square:.2f}", "χ² a pixel, dark exposure; calibrated: 1")
        + covers
    )


def _table(rows: Iterable[Row]) -> str:
    body = "".join(
        f"<tr><td>{escape(row.condition)}</td><td>{escape(row.method)}</td><td>{row.psnr:.2f}</td><td>{row.ssim:.3f}</td>"
        f"<td>{_number(row.chi_square)}</td><td>{_number(row.coverage)}</td></tr>"
        for row in rows
    )
    return (
        '<div class="scroll"><table><thead><tr><th>Condition</th><th>Method</th><th>PSNR, dB</th><th>SSIM</th>'
        f"<th>χ² a pixel</th><th>Coverage</th></tr></thead><tbody>{body}</tbody></table></div>"
    )


def _recognition(rows: Sequence[RecognitionRow]) -> str:
    body = "".join(
        f"<tr><td>{escape(row.condition)}</td><td>{escape(row.faces)}</td><td>{row.pairs}</td>"
        f"<td>{_share(row.accuracy)}</td><td>{'' if row.gain is None else _share(row.gain, '+')}</td>"
        f"<td>{row.auc:.4f}</td><td>{_share(row.tar)} at {row.far:g}</td>"
        f"<td>{'' if row.tar_gain is None else _share(row.tar_gain, '+')}</td><td>{_share(row.tar_deployed)}</td>"
        f"<td>{_permille(row.far_deployed)}</td>"
        f"<td>{'' if row.far_gain is None else _permille(row.far_gain, '+')}</td></tr>"
        for row in rows
    )
    heads = (
        *("Second face", "", "Pairs", "Accuracy", "Against as measured", "AUC", "TAR at FAR", "Against as measured"),
        *("TAR at the clean threshold", "FAR there", "Against as measured"),
    )
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{name}</th>" for name in heads)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div><p>In brackets: 95 % intervals over identities. TAR and FAR compare every "
        "first face with the second faces of other people. The clean threshold is that at which clean second faces "
        "have the FAR of column “TAR at FAR”.</p>"
    )


def _share(found: Interval, sign: str = "") -> str:
    value, low, high = (f"{100 * x:{sign}.1f}" for x in found)
    return f"{value} % ({low} … {high})"


def _permille(found: Interval, sign: str = "") -> str:
    value, low, high = (f"{1000 * x:{sign}.2f}" for x in found)
    return f"{value} ‰ ({low} … {high})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _text(*files: Traversable) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in files)
