"""Evaluations: pairs of the person leave reports and stored scores, and names leave texts."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import read_arrays
from oaml_core.errors import EvaluationError
from oaml_core.forgetting.place import Case, Change, Item, Place, Remainder, SetTraces
from oaml_core.forgetting.trees import Tree, trees_of
from oaml_core.store.local_file import appearing, sha256_of
from oaml_core.structured_text import json_or_none

METRICS, REPORT, SCORES = "metrics.json", ".html", "scores.npz"
FIGURE = re.compile(r'<figure class="pair">.*?</figure>', re.DOTALL)
CAPTION = re.compile(r"<small>(?P<set>.*?) · (?P<condition>.*) · pair (?P<pair>\d+)</small>")
IN_PLACE = '<figure class="pair"><figcaption>This pair was removed: it shows a forgotten person.</figcaption></figure>'
KEPT = ("models/", "pins/", "leases/")
ADDRESSES = ("run.json", "last.json", "result.json")
"""Texts that lead to other objects: a name in them is told, and stays."""
TEXTS = (".html", ".json", ".csv", ".txt", ".md", ".log", ".jsonl")


class Evaluations(Place):
    """Reports, stored scores and texts beside them, in the store and in local folders."""

    name = "reports and scores"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._found: list[tuple[Tree, str, SetTraces | None]] = []

    def search(self) -> list[Item]:
        items = []
        for tree in trees_of(self.case):
            traced = self._traced(tree)
            for key in tree.keys((*TEXTS, f"/{SCORES}")):
                self.looked_at += 1
                traces = traced.get(PurePosixPath(key).parent.as_posix())
                if what := self._what(tree.fetch(key), key, traces):
                    if key.startswith(KEPT) or key.endswith(ADDRESSES) or self.case.person.mentions(key):
                        why = "it is an address, or holds addresses, with the name in it; rename the run"
                        self.remains.append(Remainder(self.case.person.redact(tree.where(key)), why))
                        continue
                    self._found.append((tree, key, traces))
                    items.append(Item(tree.where(key), what, sha256_of(tree.fetch(key))))
                shutil.rmtree(self.case.scratch / "objects", ignore_errors=True)
        return items

    def _traced(self, tree: Tree) -> dict[str, SetTraces]:
        """Return what the data set of each evaluation held of the person, by the evaluation's folder."""
        found = {}
        for key in tree.keys((f"/{METRICS}",)):
            metrics = json_or_none(tree.fetch(key).read_bytes())
            context = metrics.get("context") if isinstance(metrics, dict) else None
            if not isinstance(context, dict):
                continue
            traces = self.case.traces.get(str(context.get("dataset_fingerprint")))
            if traces is not None:
                found[PurePosixPath(key).parent.as_posix()] = traces
        return found

    def _what(self, path: Path, key: str, traces: SetTraces | None) -> str:
        if key.endswith(SCORES):
            return "scores of pairs with the person" if traces is not None and _has_pairs(path, traces) else ""
        text = path.read_text(errors="surrogateescape")
        if key.endswith(REPORT) and self._without_figures(text, traces) != text:
            return "pictures of pairs with the person"
        return "the name" if self.case.person.mentions(html.unescape(text)) else ""

    def _without_figures(self, text: str, traces: SetTraces | None) -> str:
        def shown(figure: re.Match[str]) -> str:
            caption = CAPTION.search(figure[0])
            if caption is not None and traces is not None:
                name = html.unescape(caption["set"])
                if int(caption["pair"]) in traces.pairs.get(name, ()):
                    return IN_PLACE
            return IN_PLACE if self.case.person.mentions(html.unescape(figure[0])) else figure[0]

        return FIGURE.sub(shown, text)

    def erase(self) -> list[Change]:
        changes = []
        for tree, key, traces in self._found:
            source = tree.fetch(key)
            before = sha256_of(source)
            path = self.case.scratch / "changed" / PurePosixPath(key).name
            path.parent.mkdir(parents=True, exist_ok=True)
            what = self._what(source, key, traces)
            if key.endswith(SCORES):
                assert traces is not None
                _without_pairs(source, path, traces)
            else:
                text = source.read_text(errors="surrogateescape")
                text = self.case.person.redact(self._without_figures(text, traces))
                path.write_text(text, errors="surrogateescape")
            tree.replace(key, path)
            changes.append(Change(Item(tree.where(key), what, before), sha256_of(path)))
            shutil.rmtree(self.case.scratch / "objects", ignore_errors=True)
        return changes


def _has_pairs(path: Path, traces: SetTraces) -> bool:
    """Return True if stored scores still have the pairs that go."""
    stored = _stored(path)
    return any(
        str(stored[f"{name}/digest"]) != traces.digests.get(name)
        for name, pairs in traces.scored.items()
        if pairs and f"{name}/digest" in stored
    )


def _stored(path: Path) -> dict[str, NDArray[Any]]:
    return read_arrays(path, str(path), "Run `oaml evaluate` again, or remove it.", EvaluationError)


def _without_pairs(source: Path, target: Path, traces: SetTraces) -> None:
    """Write stored scores without the pairs that go, under the digest of those that stay.

    Both models of a later comparison are then judged on the same pairs.
    """
    arrays = _stored(source)
    for name, pairs in traces.scored.items():
        mine = [key for key in arrays if key.startswith(f"{name}/")]
        if not mine or str(arrays[f"{name}/digest"]) == traces.digests.get(name):
            continue
        if name not in traces.digests:  # no pair of the set is left
            arrays = {key: array for key, array in arrays.items() if key not in mine}
            continue
        for key in mine:
            if arrays[key].ndim:
                arrays[key] = np.delete(arrays[key], pairs, axis=-1)
        arrays[f"{name}/digest"] = np.array(traces.digests[name])
    with appearing(target) as new, new.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
