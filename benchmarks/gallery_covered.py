"""Who a covered face is, in a gallery: by the embedding alone, and by the search in two stages.

    python -m benchmarks.gallery_covered --onnx model.onnx --faces lfw112/lfw_val.bin --strangers lfw112/singles

The first uncovered face of each person is enrolled, and one face of each stranger. Every other face of the people is
a probe: as it is, and under each occluder, drawn by the artwork that training never uses, or cut out of photographs
(`--occluders`). Per occluder: rank-1 of the embedding alone against the whole gallery, rank-1 of the search that
`oaml identify` and the service make, their difference on the same resamples of the people, and the share of probes
whose person is on the shortlist. `--exhaustive` adds rank-1 if every face is compared by the score that decides.
Figures are in %, with 95 % intervals over people. `--out benchmarks/figures/gallery-covered.json` keeps the table for
`python -m benchmarks.figures`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import figures
from benchmarks.told import run
from oaml_core.evaluation.covered.cohort import open_strangers
from oaml_core.evaluation.covered.cover import covers
from oaml_core.evaluation.covered.faces import KnownFaces, open_faces
from oaml_core.evaluation.covered.score import describe
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.records import FaceRecords

UNCOVERED = "nothing"
COLUMNS = [
    "on the probe",
    "covered, %",
    "embedding alone",
    "two stages",
    "gain, points",
    "on the shortlist",
    "faces compared",
]
Flags = NDArray[np.bool_]


class Outcome(NamedTuple):
    """Probes under one occluder."""

    alone: Flags
    """[n], the embedding alone names the right person."""
    staged: Flags
    """[n], the search names the right person."""
    listed: Flags
    """[n], the right person is on the shortlist."""
    whole: Flags | None
    """[n], the score that decides, over the whole gallery, names the right person; None: not measured."""
    compared: float
    """Faces on the shortlist, mean."""


def split(faces: KnownFaces, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of the enrolled faces, the first uncovered one of each person, and of at most `most` probes."""
    rows = np.flatnonzero(~faces.covered)
    enrolled = rows[np.unique(faces.people[rows], return_index=True)[1]]
    others = np.setdiff1d(rows, enrolled)
    others = others[np.isin(faces.people[others], faces.people[enrolled])]
    if len(others) > most:
        others = np.sort(np.random.default_rng(SEED).choice(others, most, replace=False))
    return enrolled, others


def enrol(gallery: Gallery, records: FaceRecords, names: Sequence[str]) -> None:
    """Add one face per name."""
    for row, name in enumerate(names):
        gallery.add(name, records.rows(slice(row, row + 1)), source="", digest=name)


def look_for(
    search: GallerySearch, model: OamlOnnx, probes: FaceRecords, people: Sequence[str], *, exhaustive: bool
) -> Outcome:
    """Search the gallery for each probe.

    Args:
        search: of the gallery.
        model: that described the probes.
        probes: of n faces.
        people: [n], the names that are right.
        exhaustive: also compare every face of the gallery.
    """
    gallery = search.gallery
    keys = gallery.face_keys()
    names = {key: face.person for key, face in gallery.faces(keys).items()}
    held = gallery.embeddings(keys)
    embeddings = np.stack([np.frombuffer(held[key], "<f4") for key in keys])
    everything = gallery.records(keys)[1] if exhaustive else None
    alone, staged, listed, whole, compared = [], [], [], [], []
    for row, person in enumerate(people):
        probe = probes.rows(slice(row, row + 1))
        alone.append(names[keys[int((embeddings @ probe.embedding[0]).argmax())]] == person)
        staged.append(search.search(probe, top=1).people[0].face.person == person)
        short = search.shortlisted(probe, top=1)[0]
        listed.append(person in {names[key] for key in short})
        compared.append(len(short))
        if everything is not None:
            whole.append(names[keys[int(model.scores(probe, everything).deciding[1].argmax())]] == person)
    flags = [np.array(some, dtype=np.bool_) for some in (alone, staged, listed)]
    return Outcome(*flags, np.array(whole, dtype=np.bool_) if exhaustive else None, float(np.mean(compared)))


def row_of(name: str, covered: float, outcome: Outcome, people: NDArray[np.int64]) -> list[figures.Cell]:
    """Return the row of one occluder.

    Args:
        name: of the occluder.
        covered: share of the probes' pixels that it covers.
        outcome: of n probes.
        people: [n], numbers of their people.
    """
    same = np.ones(len(people), dtype=np.bool_)
    bootstrap = IdentityBootstrap(people, people, same, np.random.default_rng(SEED))
    kept = [outcome.alone, outcome.staged, outcome.listed]
    kept += [] if outcome.whole is None else [outcome.whole]
    resampled = bootstrap.shares(np.stack(kept, axis=1))
    alone, staged, listed, *whole = (
        Interval.of(float(flags.mean()), resampled[:, column]) for column, flags in enumerate(kept)
    )
    gain = Interval.of(staged.difference - alone.difference, resampled[:, 1] - resampled[:, 0])
    cells: list[figures.Cell] = [name, 100 * covered, _shown(alone), _shown(staged), _shown(gain, signed=True)]
    return [*cells, _shown(listed), outcome.compared, *map(_shown, whole)]


def _shown(found: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    middle, low, high = (f"{100 * value + 0.0:{sign}.1f}".replace("-", "−") for value in found)
    return f"{middle} ({low} to {high})"


def measure(options: argparse.Namespace) -> list[list[figures.Cell]]:
    """Return a row per occluder."""
    model, faces = OamlOnnx(options.onnx, threads=options.threads), open_faces(Path(options.faces))
    enrolled, others = split(faces, options.probes)
    drawn = [kind for kind in options.drawn.split(",") if kind]
    folder = None if options.occluders is None else Path(options.occluders)
    probes = faces.rows(others)
    people = [f"person {number}" for number in probes.people]
    rows = []
    with tempfile.TemporaryDirectory() as scratch, Gallery(Path(scratch) / "g", model.version) as gallery:
        enrol(gallery, describe(model, faces.images[enrolled]), [f"person {one}" for one in faces.people[enrolled]])
        if options.strangers is not None:
            strangers = open_strangers(Path(options.strangers), model.image_size, options.most_strangers)
            enrol(gallery, describe(model, strangers), [f"stranger {number}" for number in range(len(strangers))])
        count = len(gallery.face_keys())
        print(f"{count} faces enrolled, {len(people)} probes of {len(set(people))} people", flush=True)
        search = GallerySearch(gallery, model)
        for cover in [None, *covers(drawn, folder, held_out=options.held_out)]:
            images, covered = probes.images, 0.0
            if cover is not None:
                images, visible = cover.apply(probes)
                covered = float(1 - visible.mean())
            outcome = look_for(search, model, describe(model, images), people, exhaustive=options.exhaustive)
            rows.append(row_of(UNCOVERED if cover is None else cover.name, covered, outcome, probes.people))
            print(" | ".join(str(cell) for cell in rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", required=True, help="exported model.onnx")
    parser.add_argument(
        "--faces", required=True, help="aligned faces: a folder with one folder per person, or a verification set"
    )
    parser.add_argument("--strangers", help="aligned faces of other people, enrolled beside them")
    parser.add_argument("--most_strangers", type=int, default=10_000)
    parser.add_argument("--drawn", default="surgical,veil,sunglasses,scarf,hand,blocks", help="drawn occluders")
    parser.add_argument("--occluders", help="cut-outs: RGBA files, one folder per kind")
    parser.add_argument("--held_out", action="store_true", help="lay on only cut-outs that training never does")
    parser.add_argument("--probes", type=int, default=400, help="most probes per occluder")
    parser.add_argument("--exhaustive", action="store_true", help="also compare every face of the gallery")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    options = parser.parse_args()
    rows = measure(options)
    if options.out is not None:
        columns = [*COLUMNS, *(["every face compared"] if options.exhaustive else [])]
        command = figures.command("benchmarks.gallery_covered", sys.argv[1:])
        figures.write(figures.measured(command, columns, rows, ["onnxruntime", "numpy"]), options.out)


if __name__ == "__main__":
    run(main)
