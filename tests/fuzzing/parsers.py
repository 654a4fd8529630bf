"""Every parser of files and messages that others write, in one table: whole samples, and what reads them.

A parser may refuse a file with an error for users, or read it. Anything else is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fuzzing import made_samples, samples, template_samples
from fuzzing.readers import (
    any_graph,
    checkpoint,
    checksums,
    form,
    gallery,
    graph_metadata,
    image,
    inventory,
    memfile,
    one_set,
    pointers,
    prepared,
    receipt,
    recipe,
    shards,
    source,
    store_notes,
    subset,
    tensors,
    tiles,
    verification,
    weights,
)

from oaml_core.data.prepared.dataset import open_array
from oaml_core.data.sources.image_list import ImageListSource
from oaml_core.data.sources.image_parquet import ImageParquetSource
from oaml_core.data.sources.labelled_list import LabelledListSource
from oaml_core.data.sources.recordio_source import RecordIOSource
from oaml_core.data.sources.text import read_table
from oaml_core.data.sources.webdataset import WebDatasetSource
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.evaluation.scoring.stored import read_scores
from oaml_core.serve.keys import read_keys


class Parser(NamedTuple):
    """A parser, and files that it reads."""

    files: Callable[[], samples.Files]
    """Whole files by name."""
    targets: tuple[str, ...]
    """Names of the files that are damaged, one at a time."""
    read: Callable[[Path, str], Any]
    """Reads a folder in which the named file is damaged."""


PARSERS: Mapping[str, Parser] = {
    "RecordIO": Parser(
        samples.recordio,
        ("train.rec", "train.idx", "property", "train_meta.json"),
        source(lambda f, _: RecordIOSource(f)),
    ),
    "pickled pairs": Parser(samples.bins, tuple(samples.bins()), one_set),
    "list of images": Parser(samples.lists, ("train.csv",), source(lambda f, _: ImageListSource(f))),
    "table": Parser(
        samples.lists, ("semicolons.csv",), lambda folder, target: read_table((folder / target).read_bytes(), target)
    ),
    "labelled list": Parser(samples.lists, ("train.txt", "train.lst"), source(LabelledListSource)),
    "lists of pairs": Parser(samples.lists, ("set_pairs.csv", "pairs.txt"), verification),
    "subset": Parser(samples.lists, ("people.txt", "numbers.txt"), subset),
    "lists of templates": Parser(template_samples.lists, tuple(template_samples.LISTS), template_samples.read),
    "landmarks of faces": Parser(
        lambda: samples.named_images() | {"landmarks.json": samples.lists()["landmarks.json"]},
        ("landmarks.json",),
        lambda folder, _: open_faces(folder),
    ),
    "list in Parquet": Parser(samples.parquets, ("train.parquet",), source(lambda f, _: ImageListSource(f))),
    "images in Parquet": Parser(
        samples.parquets, ("train-00000.parquet",), source(lambda f, _: ImageParquetSource(f, ["train-00000.parquet"]))
    ),
    "pairs in Parquet": Parser(
        samples.parquets, ("verification/rows.parquet", "verification/columns.parquet"), verification
    ),
    "images in tar": Parser(
        samples.tars, ("train/a-000.tar", "train/b-000.tar"), source(lambda f, _: WebDatasetSource(f))
    ),
    "pairs in tar": Parser(samples.tars, ("verification/c-000.tar",), verification),
    "memfiles of pairs": Parser(samples.memfiles, tuple(samples.memfiles()), verification),
    "prepared memfiles": Parser(samples.memfiles, ("own.dat", "own.dat.conf", "own_list.npy"), memfile),
    "arrays": Parser(samples.memfiles, ("own_list.npy",), lambda folder, target: open_array(folder / target)),
    "images": Parser(samples.pictures, tuple(samples.pictures()), image),
    "prepared data": Parser(made_samples.prepared, tuple(made_samples.prepared()), prepared),
    "pointers": Parser(
        made_samples.documents,
        (
            "models/production.json",
            "models/1.json",
            "models/decisions/last.json",
            "runs/a/metrics.json",
            "runs/a/last.json",
            "runs/a/metrics.csv",
        ),
        pointers,
    ),
    "scores": Parser(
        made_samples.scores, tuple(made_samples.scores()), lambda folder, target: read_scores(folder / target)
    ),
    "shards of a preparation": Parser(made_samples.shard_files, tuple(made_samples.shard_files()), shards),
    "inventories of S3": Parser(made_samples.inventories, tuple(made_samples.inventories()), inventory),
    "tiles": Parser(samples.tiles, tuple(samples.tiles()), tiles),
    "recipes": Parser(made_samples.recipes, ("recipe.yaml", "short.yaml"), recipe),
    "keys of a service": Parser(made_samples.recipes, ("keys.txt",), lambda folder, target: read_keys(folder / target)),
    "receipts": Parser(made_samples.store_notes, ("receipt.json",), receipt),
    "notes of a store": Parser(
        made_samples.store_notes, ("store/a.txt", "store/.sha256/a.txt", "journal.done"), store_notes
    ),
    "gallery": Parser(made_samples.galleries, ("people.gallery",), gallery),
    "checksums": Parser(made_samples.checksums, ("cache/checksums.sqlite",), checksums),
    "checkpoints": Parser(made_samples.checkpoints, ("step-0000000001.ckpt",), checkpoint),
    "weights": Parser(made_samples.checkpoints, ("weights.safetensors", "weights.pth"), weights),
    "ONNX graphs": Parser(made_samples.graphs, ("model.onnx",), any_graph),
    "metadata of models": Parser(made_samples.metadata, ("oaml.json",), graph_metadata),
    "requests for tensors": Parser(made_samples.requests, tuple(made_samples.requests()), tensors),
    "forms": Parser(made_samples.uploads, ("form.body",), form),
}
