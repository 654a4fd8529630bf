"""Example pairs of an evaluation: typical ones, and the hardest errors."""

from __future__ import annotations

from html import escape

from oaml_core.evaluation.report.pictures import pair_svg
from oaml_core.evaluation.verdict.results import Example


def pair_gallery(examples: list[Example]) -> str:
    """Return the section of example pairs; nothing without examples."""
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


def no_gallery() -> str:
    """Return a section that says that no faces are shown."""
    return '<section><h2>Pairs</h2><p class="note">Left out: these faces are not to be shared.</p></section>'


def _pair(example: Example) -> str:
    kind = "genuine" if example.genuine else "impostor"
    verdict, side = (f"{kind} pair", "right") if example.kind == "typical" else (example.kind, "wrong")
    scores = " · ".join(f"{name} {value:.2f}" for name, value in example.scores.items()).replace("-", "−")
    return (
        f'<figure class="pair"><figcaption><span class="verdict {side}">{verdict}</span>'
        f"<small>{escape(example.caption)}</small></figcaption>"
        f"{pair_svg(example.pair, kind.title())}<p>{scores}</p></figure>"
    )
