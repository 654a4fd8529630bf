"""Checkpoints: what the classifier and the class embeddings hold of one identity is set to zero.

Only tensors with one row or column per training identity are touched: the recogniser, which all identities taught,
stays as it is. A run names its best checkpoint by digest; those names are made right again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from oaml_core.errors import CheckpointError, DataError
from oaml_core.forgetting.place import Case, Change, Item, Place, Remainder
from oaml_core.forgetting.trees import Tree, digest, trees_of
from oaml_core.store.local_file import sha256_of
from oaml_core.structured_text import parse_json
from oaml_core.training.checkpoints import read_checkpoint, write_checkpoint

ENDING = ".ckpt"
RESULT = "result.json"
NOT_ENDED = (
    "its training has not come to its end: where it goes on, its next checkpoint has the rows again. End it, and give "
    "the command again"
)
CLASS_PARTS = ("head.", "classes.")
"""Parts of a training module that have something per identity."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as far as forgetting needs to know it."""

    key: str
    fingerprint: str
    step: int
    is_best: bool
    """Whether it was written as the best one, and so cannot name its own digest."""
    best: Mapping[str, Any] | None
    """Step and digest of the best checkpoint that it names."""
    full: bool
    """Whether anything of the person is in it."""
    sha256: str


class Checkpoints(Place):
    """Class rows in all checkpoints of the store and of local runs."""

    name = "checkpoints"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._runs: list[tuple[Tree, str, list[Loaded]]] = []

    def search(self) -> list[Item]:
        items = []
        for tree in trees_of(self.case):
            runs: dict[str, list[str]] = {}
            for key in tree.keys((ENDING,)):
                runs.setdefault(_run_of(key), []).append(key)
            for run, keys in runs.items():
                loaded = [one for key in keys if (one := self._look_at(tree, key)) is not None]
                if any(one.fingerprint in self.case.traces for one in loaded):
                    self._runs.append((tree, run, loaded))
                    if run and not tree.has(f"{run}/{RESULT}"):
                        self.remains.append(Remainder(tree.where(run), NOT_ENDED))
                what = "rows of the classifier and of the class embeddings"
                items += [Item(tree.where(one.key), what, one.sha256) for one in loaded if one.full]
                shutil.rmtree(self.case.scratch / "objects", ignore_errors=True)
        return items

    def _look_at(self, tree: Tree, key: str) -> Loaded | None:
        self.looked_at += 1
        try:
            path = tree.fetch(key)
            state, sha256 = read_checkpoint(path), sha256_of(path)
        except FileNotFoundError:  # a training that goes on removes older ones
            return None
        except CheckpointError:
            self.remains.append(Remainder(tree.where(key), "it cannot be read as a checkpoint"))
            return None
        fingerprint = state.get("fingerprint")
        if "module" not in state or not isinstance(fingerprint, str):
            return None  # a prior of restoration: nothing in it belongs to one identity
        if fingerprint not in self.case.known_sets and fingerprint not in self.case.traces:
            why = f"its data set {fingerprint} is in the store no longer, so nobody can say who was in it"
            self.remains.append(Remainder(tree.where(key), why))
        traces = self.case.traces.get(fingerprint)
        best = state.get("best")
        full = traces is not None and any(
            _is_full(t, axis, rows) for t, axis, rows in class_rows(state, *_gone(traces))
        )
        step = int(state["position"]["step"])
        is_best = best is not None and best["sha256"] == ""
        return Loaded(key, fingerprint, step, is_best, best, full, sha256)

    def erase(self) -> list[Change]:
        changes = []
        for tree, run, loaded in self._runs:
            digests: dict[int, str] = {}
            for one in sorted(loaded, key=lambda one: not one.is_best):
                try:
                    change, after = self._clear(tree, one, digests)
                except FileNotFoundError as error:
                    if tree.has(one.key):  # else it was removed since it was searched
                        why = f"it could not be cleared, as {error.filename or error} was gone; run this again"
                        self.remains.append(Remainder(tree.where(one.key), why))
                    continue
                if one.is_best:
                    digests[one.step] = after
                changes += change
            changes += self._mend_result(tree, run, digests)
            shutil.rmtree(self.case.scratch / "objects", ignore_errors=True)
        return changes

    def _clear(self, tree: Tree, one: Loaded, digests: Mapping[int, str]) -> tuple[list[Change], str]:
        """Clear one checkpoint and let it name its run's best one as that is now; return its digest, too."""
        before = digest(tree, one.key)
        best = dict(one.best) if one.best else None
        if best and best["sha256"] and best["step"] in digests:
            best["sha256"] = digests[best["step"]]
        if not one.full and best == one.best:
            return [], before
        state = read_checkpoint(tree.fetch(one.key))
        for tensor, axis, rows in class_rows(state, *_gone(self.case.traces[one.fingerprint])):
            tensor.index_fill_(axis, torch.tensor(rows), 0)
        if best:
            state["best"] = best
        path = self.case.scratch / "cleared.ckpt"
        write_checkpoint(state, path)
        after = sha256_of(path)
        tree.replace(one.key, path)
        path.unlink()
        what = "rows of the classifier and of the class embeddings" if one.full else "name of the best checkpoint"
        return [Change(Item(tree.where(one.key), what, before), after)], after

    def _mend_result(self, tree: Tree, run: str, digests: Mapping[int, str]) -> list[Change]:
        """Let a published run's result name its best checkpoint as that is now."""
        key = f"{run}/{RESULT}" if run else RESULT
        if not tree.has(key):
            return []
        source = tree.fetch(key)
        result = parse_json(source.read_bytes(), tree.where(key), "Remove it, and run the command again.", DataError)
        best = result.get("best")
        if not best or digests.get(best["step"], best["sha256"]) == best["sha256"]:
            return []
        item = Item(tree.where(key), "digest of the best checkpoint", sha256_of(source))
        path = self.case.scratch / RESULT
        path.write_text(json.dumps(result | {"best": best | {"sha256": digests[best["step"]]}}))
        tree.replace(key, path)
        return [Change(item, sha256_of(path))]


def class_rows(state: Mapping[str, Any], whole: set[int], part: set[int]) -> Iterator[tuple[Tensor, int, list[int]]]:
    """Yield every tensor of a checkpoint with something per identity, its axis of identities, and what goes of it.

    Args:
        state: of the checkpoint.
        whole: labels of which everything goes.
        part: labels of which the class embeddings go, as they show single images.
    """
    count = int(state["num_classes"])
    shapes = set()
    for name, tensor in _named(state):
        axis = _axis(tensor, count)
        if axis is None:
            continue
        shapes.add(tuple(tensor.shape))
        rows = sorted(label for label in (whole | part if "classes." in name else whole) if label < count)
        if rows:
            yield tensor, axis, rows
    rows = sorted(label for label in whole if label < count)
    for slots in state["optimiser"].get("state", {}).values():
        for tensor in slots.values():
            if rows and isinstance(tensor, Tensor) and tensor.ndim > 1 and tuple(tensor.shape) in shapes:
                axis = _axis(tensor, count)
                assert axis is not None
                yield tensor, axis, rows


def _named(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of classifier and class embeddings, in the module and in its averages."""
    average = state.get("average") or {}
    for values in (state["module"], *(value for value in average.values() if isinstance(value, Mapping))):
        for name, tensor in values.items():
            if name.startswith(CLASS_PARTS) and isinstance(tensor, Tensor):
                yield name, tensor


def _axis(tensor: Tensor, count: int) -> int | None:
    return next((axis for axis, size in enumerate(tensor.shape[:2]) if size == count), None)


def _is_full(tensor: Tensor, axis: int, rows: list[int]) -> bool:
    return bool(tensor.index_select(axis, torch.tensor(rows)).any())


def _gone(traces: Any) -> tuple[set[int], set[int]]:
    return traces.classes, traces.touched


def _run_of(key: str) -> str:
    parent = PurePosixPath(key).parent
    found = parent.parent if parent.name == "checkpoints" else parent
    return "" if found.as_posix() == "." else found.as_posix()
