"""What a request knows, kept in the store in digests alone: it outlives a kill, and keeps images from coming back."""

from __future__ import annotations

import json
from dataclasses import asdict

from oaml_core.data.prepare.forgotten import LISTS
from oaml_core.forgetting.place import Case, SetTraces

REMEDY = "Bring it back from a copy of the store: it says what an earlier try of this request has removed."


def list_key(subject: str) -> str:
    """Return the key of the list of a request."""
    return f"{LISTS}/{subject}.json"


def recall(case: Case, subject: str) -> None:
    """Take what an earlier try of the same request knew."""
    if not case.store.exists(list_key(subject)):
        return
    known = case.store.read_json(list_key(subject), ("files", "pixels", "sets"), REMEDY)
    case.person.files.update(known["files"])
    case.person.pixels.update(known["pixels"])
    for fingerprint, traces in known["sets"].items():
        numbers = {name: set(traces[name]) for name in ("classes", "touched")}
        case.traces[fingerprint] = SetTraces(**(traces | numbers))


def keep(case: Case, subject: str) -> None:
    """Write down all that is known now."""
    sets = {
        fingerprint: asdict(traces) | {"classes": sorted(traces.classes), "touched": sorted(traces.touched)}
        for fingerprint, traces in sorted(case.traces.items())
    }
    content = {"files": sorted(case.person.files), "pixels": sorted(case.person.pixels), "sets": sets}
    case.store.write_bytes(list_key(subject), json.dumps(content, sort_keys=True).encode())
