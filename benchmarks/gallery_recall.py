"""Search in two stages beside comparing every face: do both name the same person, among real and drawn faces?

    python -m benchmarks.gallery_recall --onnx model.onnx --faces lfw112/lfw_val.bin --strangers lfw112/singles lfw112

As in `benchmarks.gallery_covered`, the first uncovered face of each person is enrolled and the others are probes, as
they are and under each occluder. The strangers of every source of `--strangers` are enrolled beside them, and drawn
faces up to `--gallery` faces. Every probe is compared with every face by the score that decides, from the records that
the gallery keeps, and searched as `oaml identify` and the service do. Per occluder: the share of probes for which both
name the same person first, with a 95 % interval over people; the length that the list of the nearest embeddings would
need to hold the face that comes first of all, for 99.9 % of the probes; the same if the list of the nearest local
vectors, of models that have them, may hold it instead; and the faces that were compared. `--half` keeps the people of
even or of odd number, so that what is chosen on some is told of others. `--shortlist` is the shortlist's length for an
uncovered probe. `--one_list` searches as models that compare maps do, by the list of embeddings alone, as long as
theirs. `--backbone` takes a published backbone in place of `--onnx`, which is told what is covered: see
`benchmarks.told_cover`. `--out benchmarks/figures/gallery-recall.json` keeps the table for
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
from benchmarks.gallery_covered import UNCOVERED, enrol, split
from benchmarks.told import run
from benchmarks.told_cover import ToldCover
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.evaluation.covered.cohort import open_strangers
from oaml_core.evaluation.covered.cover import covers
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.evaluation.covered.score import describe
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import SHORTLIST, GallerySearch
from oaml_core.inference.gallery.vectors import Vectors
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.records import FaceRecords, Floats

COLUMNS = [
    "on the probe",
    "probes",
    "the same person first, %",
    "embeddings to list",
    "of both vectors to list",
    "faces compared",
]
HALVES = ("even", "odd")
HELD = 0.999
"""Share of probes whose first face a list must hold, the aim."""
Flags = NDArray[np.bool_]
Ranks = NDArray[np.int64]


class Agreement(NamedTuple):
    """Searches in two stages beside comparing every face, of n probes under one occluder."""

    same: Flags
    """[n], both name the same person first."""
    embedding_rank: Ranks
    """[n], place by the embedding of the face that comes first of all, from 1 on."""
    better_rank: Ranks
    """[n], place of that face in the list in which it stands higher."""
    compared: NDArray[np.int64]
    """[n], faces that the search compared."""


class Everything(NamedTuple):
    """All faces of a gallery, as it keeps them."""

    keys: list[int]
    people: list[str]
    records: FaceRecords


def read_everything(gallery: Gallery) -> Everything:
    """Return all faces of a gallery."""
    keys, records = gallery.records(gallery.face_keys())
    if records is None:
        raise ValueError("The gallery is empty.")
    about = gallery.faces(keys)
    return Everything(keys, [about[key].person for key in keys], records)


class EmbeddingsAlone(GallerySearch):
    """Searches as of a model that compares maps, though this one has local vectors."""

    def shortlisted(self, probe: FaceRecords, top: int = 5) -> tuple[list[int], int]:
        maps = np.zeros((1, 1, *probe.visibility.shape[2:]), np.float32)
        return super().shortlisted(probe._replace(local_features=maps), top)

    def _refreshed(self) -> list[Vectors]:
        return super()._refreshed()[:1]


def compare(search: GallerySearch, everything: Everything, probes: FaceRecords) -> Agreement:
    """Search the gallery for each probe, and compare the probe with every face of it.

    Args:
        search: of the gallery.
        everything: of the same gallery.
        probes: of n faces.
    """
    same, first, better, compared = [], [], [], []
    known = everything.records
    for row in range(len(probes.embedding)):
        probe = probes.rows(slice(row, row + 1))
        best = int(search.model.scores(probe, known).deciding[1].argmax())
        answer = search.search(probe, top=1)
        same.append(answer.people[0].face.person == everything.people[best])
        ranks = [place_of(best, probe.embedding[0], known.embedding)]
        if len(known.local_embedding):
            ranks.append(place_of(best, probe.local_embedding[0], known.local_embedding))
        first.append(ranks[0])
        better.append(min(ranks))
        compared.append(answer.compared)
    return Agreement(np.array(same, dtype=np.bool_), *map(np.array, (first, better, compared)))


def place_of(face: int, probe: Floats, vectors: Floats) -> int:
    """Return the place of a face [row of `vectors`] among all by inner product with the probe, from 1 on."""
    scores = vectors @ probe
    return int((scores > scores[face]).sum()) + 1


def needed(ranks: Ranks) -> int:
    """Return the length of a list that holds `HELD` of the faces that stand at these places."""
    return int(np.sort(ranks)[int(np.ceil(HELD * len(ranks))) - 1])


def row_of(name: str, found: Agreement, people: NDArray[np.int64]) -> list[figures.Cell]:
    """Return the row of one occluder.

    Args:
        name: of the occluder.
        found: of n probes.
        people: [n], numbers of their people.
    """
    ones = np.ones(len(people), dtype=np.bool_)
    bootstrap = IdentityBootstrap(people, people, ones, np.random.default_rng(SEED))
    same = Interval.of(float(found.same.mean()), bootstrap.shares(found.same[:, None])[:, 0])
    lists = [needed(ranks) for ranks in (found.embedding_rank, found.better_rank)]
    return [name, len(people), shown(same), *lists, float(found.compared.mean())]


def shown(found: Interval) -> str:
    """Return a share in percent with its interval."""
    middle, low, high = (f"{100 * value:.2f}" for value in found)
    return f"{middle} ({low} to {high})"


def enrol_others(gallery: Gallery, model: OamlOnnx | ToldCover, sources: Sequence[Path], total: int) -> tuple[int, int]:
    """Enrol strangers, and drawn faces until the gallery has `total` faces; return how many of each."""
    real = 0
    for source in sources:
        images = open_strangers(source, model.image_size, max(0, total - len(gallery.face_keys())))
        enrol(gallery, describe(model, images), [f"stranger {real + number}" for number in range(len(images))])
        real += len(images)
    drawn = max(0, total - len(gallery.face_keys()))
    if drawn:
        generator = np.random.default_rng(SEED)
        faces = draw_faces(draw_identities(drawn, generator), np.arange(drawn), generator)
        enrol(gallery, describe(model, faces.images), [f"drawn {number}" for number in range(drawn)])
    return real, drawn


def measure(options: argparse.Namespace) -> list[list[figures.Cell]]:
    """Return a row per occluder, and one of all."""
    if options.backbone is None:
        model: OamlOnnx | ToldCover = OamlOnnx(options.onnx, threads=options.threads)
    else:
        model = ToldCover(Path(options.backbone))
    faces = open_faces(Path(options.faces))
    enrolled, others = split(faces, options.probes)
    if options.half is not None:
        others = others[faces.people[others] % 2 == HALVES.index(options.half)]
    drawn = [kind for kind in options.drawn.split(",") if kind]
    folder = None if options.occluders is None else Path(options.occluders)
    probes = faces.rows(others)
    rows, parts = [], []
    with tempfile.TemporaryDirectory() as scratch, Gallery(Path(scratch) / "g", model.version) as gallery:
        enrol(gallery, describe(model, faces.images[enrolled]), [f"person {one}" for one in faces.people[enrolled]])
        real, made = enrol_others(gallery, model, [Path(one) for one in options.strangers], options.gallery)
        print(f"{len(enrolled)} people, {real} strangers and {made} drawn faces enrolled", flush=True)
        kind = EmbeddingsAlone if options.one_list else GallerySearch
        search, everything = kind(gallery, model, options.shortlist), read_everything(gallery)
        for cover in [None, *covers(drawn, folder, held_out=options.held_out)]:
            images, visible = (probes.images, None) if cover is None else cover.apply(probes)
            told = isinstance(model, ToldCover) and visible is not None
            known = model.told(images, visible) if told else describe(model, images)
            parts.append(compare(search, everything, known))
            rows.append(row_of(UNCOVERED if cover is None else cover.name, parts[-1], probes.people))
            print(" | ".join(str(cell) for cell in rows[-1]), flush=True)
    whole = Agreement(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    rows.append(row_of("all", whole, np.tile(probes.people, len(parts))))
    print(" | ".join(str(cell) for cell in rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--onnx", help="exported model.onnx")
    model.add_argument("--backbone", help="published MobileFaceNet as ONNX, told what is covered")
    parser.add_argument(
        "--faces", required=True, help="aligned faces: a folder with one folder per person, or a verification set"
    )
    parser.add_argument("--strangers", nargs="*", default=[], help="aligned faces of other people, enrolled as well")
    parser.add_argument("--gallery", type=int, default=10_000, help="faces in the gallery; drawn ones fill it")
    parser.add_argument("--drawn", default="surgical,veil,sunglasses,scarf,hand,blocks", help="drawn occluders")
    parser.add_argument("--occluders", help="cut-outs: RGBA files, one folder per kind")
    parser.add_argument("--held_out", action="store_true", help="lay on only cut-outs that training never does")
    parser.add_argument("--probes", type=int, default=400, help="most probes per occluder")
    parser.add_argument("--half", choices=HALVES, help="people whose faces are probes; default: all")
    parser.add_argument("--shortlist", type=int, default=SHORTLIST)
    parser.add_argument("--one_list", action="store_true", help="search as models that compare maps do")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    options = parser.parse_args()
    rows = measure(options)
    if options.out is not None:
        command = figures.command("benchmarks.gallery_recall", sys.argv[1:])
        figures.write(figures.measured(command, COLUMNS, rows, ["onnxruntime", "numpy"]), options.out)


if __name__ == "__main__":
    run(main)
