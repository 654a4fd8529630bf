"""Compare a training's batches, weights, rows, files and processes with those of an undisturbed one."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.soak_place import SoakPlace
from oaml_core import stages
from oaml_core.config import Config
from oaml_core.data.batches.samplers import build_batch_sampler
from oaml_core.store import Store
from oaml_core.store.lease import LEASES
from oaml_core.tracking import METRICS, read_metrics
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.stored_checkpoints import NAME

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from consumption import Consumed, consumed, entries

COMPARED = ("module", "optimiser", "precision", "position", "average", "fingerprint", "num_classes")
"""Parts of a checkpoint that a disturbed run must share to the bit. The others name the run, hold speeds, or, as the
plan, say where the run was begun or resumed last: the batch that comes next is in the position."""
KEPT = "torchinductor_"
"""Beginning of the name of PyTorch's cache of compiled kernels, which is meant to stay."""


class Result(NamedTuple):
    """Everything that a training has left."""

    batches: Consumed
    losses: list[tuple[int, float]]
    last: dict[str, Any]
    best: dict[str, Any]
    files: set[str]
    """In the run's folder and, with `store:` before them, in the store; numbers of steps left out."""


def planned(config: Config, dataset_uri: str) -> Consumed:
    """Return the samples of every batch that a run is to learn from."""
    labels = np.array(stages.fetch_dataset(config, dataset_uri).train.labels)
    sampler = build_batch_sampler(config.data, labels, seed=config.seed)
    plan: Consumed = {}
    for epoch in range(config.optim.epochs):
        sampler.set_epoch(epoch)
        for batch in range(len(sampler)):
            plan[epoch, batch] = [key.image for key in sampler.global_batch(batch)]
    return plan


def result_of(place: SoakPlace, store: Store, prefix: str) -> Result:
    """Read what the run at `prefix` has left in its folder and in the store."""
    folder = place.work / prefix
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    there = {f"store:{info.key.removeprefix(prefix)}" for info in store.list(f"{prefix}/")}
    fetched = place.root / "fetched.ckpt"
    store.get_file(f"{prefix}/best.ckpt", fetched)
    last = max((folder / "checkpoints").glob("step-*.ckpt"))
    losses = [(step, value) for step, name, value in read_metrics(folder / METRICS) if name == "loss"]
    result = Result(
        consumed(folder), losses, read_checkpoint(last), read_checkpoint(fetched), {_general(n) for n in here | there}
    )
    fetched.unlink()
    return result


def _general(name: str) -> str:
    return re.sub(NAME.pattern, "step-….ckpt", name)


def findings(place: SoakPlace, store: Store, prefix: str, plan: Consumed, reference: Result) -> list[str]:
    """Compare a run that has ended well with the undisturbed one, and say what differs.

    Args:
        place: of the soak.
        store, prefix: where the run is.
        plan: samples of every batch.
        reference: what the undisturbed run left.
    """
    result = result_of(place, store, prefix)
    found = batch_findings(result.batches, plan) + row_findings(result.losses, reference.losses)
    for name, own, other in (("last", result.last, reference.last), ("best", result.best, reference.best)):
        found += [
            f"{name} checkpoint: {key} differs" for key in COMPARED if not same(learnt(own, key), learnt(other, key))
        ]
    found += [f"file left: {name}" for name in sorted(result.files - reference.files)]
    found += [f"file missing: {name}" for name in sorted(reference.files - result.files)]
    found += [f"unfinished in the store: {info.key}" for info in store.unfinished()]
    found += [f"lease left: {info.key}" for info in store.list(f"{LEASES}/")]
    left = sorted(path.name for path in place.temporary.iterdir() if not _is_kept(path))
    found += [f"temporary file left: {name}" for name in left]
    found += [f"process left: {process.pid} {process.name()}" for process in place.processes()]
    return found


def batch_findings(batches: Consumed, plan: Consumed) -> list[str]:
    """Say which batches are lost, foreign, or hold other samples than planned."""
    found = [f"batch lost: {key}" for key in plan.keys() - batches.keys()]
    found += [f"batch not planned: {key}" for key in batches.keys() - plan.keys()]
    return found + [
        f"batch {key} holds other samples than planned" for key in plan.keys() & batches if batches[key] != plan[key]
    ]


def row_findings(losses: Iterable[tuple[int, float]], reference: Iterable[tuple[int, float]]) -> list[str]:
    """Say which steps have no row of metrics, several, or another loss than the undisturbed run's."""
    rows, expected = list(losses), dict(reference)
    counts = Counter(step for step, _ in rows)
    found = [f"no row of metrics for step {step}" for step in expected.keys() - counts.keys()]
    found += [f"{count} rows of metrics for step {step}" for step, count in counts.items() if count > 1]
    return found + [
        f"step {step}: loss {value}, not {expected[step]}" for step, value in rows if value != expected.get(step)
    ]


def repeated(folder: Path) -> int:
    """Return how many batches were done again after a disturbance, as none of their work had been kept."""
    counts = Counter((rank, entry["epoch"], entry["batch"]) for rank, entry in entries(folder))
    return sum(count - 1 for (rank, _, _), count in counts.items() if rank == 0)


def learnt(state: Mapping[str, Any], key: str) -> object:
    """Return a part of a checkpoint; of the optimiser its state by parameter, as groups note how steps are computed."""
    return state["optimiser"]["state"] if key == "optimiser" else state.get(key)


def same(one: object, other: object) -> bool:
    """Return True if nested state is equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list | tuple):
        return (
            isinstance(other, list | tuple)
            and len(one) == len(other)
            and all(same(a, b) for a, b in zip(one, other, strict=True))
        )
    return one == other


def _is_kept(path: Path) -> bool:
    """Return True for what outlives a training on purpose: compiled kernels, and a traceback that a last line names."""
    return path.name.startswith(KEPT) or (path.name.startswith("oaml-error-") and path.stat().st_size > 0)
