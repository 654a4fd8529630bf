"""Which aligned faces a person should look at, and a page that shows them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from oaml_core.amounts import amount
from oaml_core.folder_entries import shown
from oaml_core.photos.photo_face import PhotoFace

SHEET = "doubtful.html"
"""A page, no picture: whoever reads the folder of faces shall not take it for one."""
UNSURE = 0.75
"""Score below which a found face is doubtful."""
BADLY = 8.0
"""Least distance of the moved points from the template, in pixels of a 112 × 112 crop, that is doubtful."""
MOST = 1000
"""Faces on a page, the least sure ones."""
STYLE = """
body { background: #18191b; color: #ece9e5; font: 13px/1.35 system-ui, sans-serif; margin: 16px; }
ul { display: flex; flex-wrap: wrap; gap: 12px; list-style: none; padding: 0; }
li { width: 144px; overflow-wrap: anywhere; }
img { width: 144px; height: 144px; display: block; }
span { color: #a09e98; }
"""


@dataclass(frozen=True)
class DoubtfulFace:
    """A face that the page of doubtful faces shows."""

    face: str
    """Path below the page's folder."""
    photo: str
    score: float
    reasons: str


def doubts_about(face: PhotoFace) -> list[str]:
    """Return why a face that was found may be none, or be cut out badly; empty if nothing speaks for that.

    Args:
        face: of a photograph.
    """
    if face.alignment is None:
        return []
    found = [f"score {face.score:.2f}"] if face.score < UNSURE else []
    error = face.alignment.error * 112 / face.image.shape[0]
    if error > BADLY:
        found.append(f"points {error:.0f} pixels off")
    return found + ([] if face.quality is None else face.quality.remarks)


def sheet_of(faces: Sequence[DoubtfulFace]) -> str:
    """Return an HTML page with the least sure faces, each with its photograph's name and the reasons.

    Args:
        faces: all that are doubtful, in any order.
    """
    drawn = sorted(faces, key=lambda face: (face.score, face.photo, face.face))[:MOST]
    title = f"{amount(len(faces), 'doubtful face')}" + (f", the {MOST:,} least sure" if len(faces) > MOST else "")
    items = [
        f'<li><img loading="lazy" alt="" src="{escape(quote(face.face))}">{escape(shown(face.photo))}'
        f"<br><span>{escape(face.reasons)}</span></li>"
        for face in drawn
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return "\n".join([head, f"<h1>{title}</h1>", "<ul>", *items, "</ul></html>", ""])
