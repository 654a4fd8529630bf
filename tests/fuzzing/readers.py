"""Readers of damaged files: each reads a folder in which the file of the given name is damaged."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuzzing import samples
from plain_model import PlainModel

from oaml_core.data.prepare.fingerprint import unknown_files
from oaml_core.data.prepare.shard_files import fetch_listing
from oaml_core.data.prepared.memfile import open_memfile, verify_memfile
from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.data.prepared.verification import open_verification
from oaml_core.data.sources.base import LocalFolder, TrainingSource
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.inventory import entries_below, read_manifest
from oaml_core.data.sources.subset import find_subset
from oaml_core.data.sources.verification import find_verification, open_verification_source
from oaml_core.decoding.decode import decode_image, decode_mask, decode_picture
from oaml_core.decoding.header import read_header
from oaml_core.errors import DataError
from oaml_core.forgetting.receipt import verify
from oaml_core.inference.any_onnx import PlainOnnx
from oaml_core.inference.gallery.copies import import_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.restoration.tile_shards import TileShards
from oaml_core.restoration.tiles import read_metadata, read_tile
from oaml_core.serve.tensors import read_request
from oaml_core.settings import config_from_yaml, load_config
from oaml_core.stages.addresses import read_metrics_json
from oaml_core.stages.production import champion, earlier_decision, record, records
from oaml_core.store.folder import FolderStore
from oaml_core.store.partial_file import partial_file
from oaml_core.store.stored_arrays import read_arrays
from oaml_core.structured_text import parse_json
from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.trained import load_trained
from tests.data_layer.written_inventory import manifest_of

LOOKED_AT = 12
"""Items that are read of what a parser finds."""


def source(open_: Callable[[LocalFolder, str], TrainingSource]) -> Callable[[Path, str], None]:
    """Read training images of a source: names, identities, and the first images."""

    def read(folder: Path, target: str) -> None:
        opened = open_(LocalFolder(folder), target)
        for number in range(min(len(opened), LOOKED_AT)):
            opened.name(number)
            opened.identity_name(int(opened.labels[number]))
            with contextlib.suppress(OSError):  # what a list names is not there; preparation sets it aside
                opened.read(number)
        len(opened.damaged)

    return read


def subset(folder: Path, target: str) -> None:
    find_subset(ImageFolderSource(LocalFolder(folder)), folder / target)


def verification(folder: Path, target: str) -> None:
    """Open every set of a folder, and read its first images."""
    opened = LocalFolder(folder)
    for name, file in find_verification(opened).items():
        found = open_verification_source(opened, name, file)
        found.landmarks()
        for image in itertools.islice(found.read_images(), LOOKED_AT):
            len(image)


def one_set(folder: Path, target: str) -> None:
    """Open the set that the damaged file belongs to."""
    name = Path(target).name.replace("_meta.json", ".bin")
    found = open_verification_source(LocalFolder(folder), Path(name).stem, name)
    found.landmarks()
    for image in itertools.islice(found.read_images(), LOOKED_AT):
        len(image)


def image(folder: Path, target: str) -> None:
    data = (folder / target).read_bytes()
    refused = []
    for decode in (read_header, decode_image, decode_mask, decode_picture):
        try:
            decode(data)
        except DataError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def memfile(folder: Path, target: str) -> None:
    path = folder / "own.dat"
    rows = open_memfile(path)
    np.asarray(rows[:LOOKED_AT]).sum()
    verify_memfile(path)
    open_verification(folder, "own")


def prepared(folder: Path, target: str) -> None:
    found = open_prepared(folder)
    for number in range(min(len(found.train), LOOKED_AT)):
        found.train.read(number)


def shards(folder: Path, target: str) -> None:
    # Read from the file as others might have put it, so without a digest of the store's own.
    store = FolderStore(folder)
    if target.endswith(".npz"):
        read_arrays(store, target, "Copy it again.")
    else:
        list(fetch_listing(store, target, folder / "scratch"))


def inventory(folder: Path, target: str) -> None:
    """Read an inventory whose checksums are those of the damaged file."""
    manifest = folder / "manifest.json"
    if target != manifest.name:
        kind = "Parquet" if target.endswith(".parquet") else "CSV"
        manifest.write_bytes(manifest_of({target: (folder / target).read_bytes()}, fileFormat=kind))
    (folder / "manifest.checksum").write_text(hashlib.md5(manifest.read_bytes()).hexdigest())
    list(entries_below(read_manifest(FolderStore(folder), manifest.name), "faces"))


def tiles(folder: Path, target: str) -> None:
    if target == "one.pt":
        read_tile(folder / target)
    elif target == "metadata.json":
        [entry.clean for entry in read_metadata(folder)]
    else:
        found = TileShards(folder, "train", use_labels=True)
        for number in range(min(len(found), LOOKED_AT)):
            found.read(number)
            found.label(number)


def pointers(folder: Path, target: str) -> None:
    """Read all that says what is in production, measured or newest."""
    store = FolderStore(folder)
    match target:
        case "models/production.json":
            champion(store)
        case "models/1.json":
            record(store, "1")
            records(store)
        case "models/decisions/last.json":
            earlier_decision(store, "1")
        case "runs/a/metrics.json":
            read_metrics_json(str(folder / target))
        case "runs/a/last.json":
            CheckpointKeeper(folder / "local", store, "runs/a", 2).newest()
        case "runs/a/metrics.csv":
            read_metrics(folder / target)
        case _:
            raise AssertionError(target)


def checksums(folder: Path, target: str) -> None:
    unknown_files({"": LocalFolder(folder / "faces")}, folder / target)


def recipe(folder: Path, target: str) -> None:
    path = folder / target
    if target == "short.yaml":
        load_config(path)
    else:
        config_from_yaml(path.read_text(errors="surrogateescape"))


def receipt(folder: Path, target: str) -> None:
    content = (folder / target).read_bytes()
    verify(parse_json(content, target, "Remove it.", DataError, ["subject"]), samples.KEY)


def gallery(folder: Path, target: str) -> None:
    with Gallery(folder / "own.gallery", PlainModel().version) as own:
        import_gallery(own, folder / target)
        own.records(own.face_keys())


def checkpoint(folder: Path, target: str) -> None:
    read_checkpoint(folder / target)
    load_trained(folder / target)


def weights(folder: Path, target: str) -> None:
    from oaml_core.models.weights_file import read_weights_file

    read_weights_file(folder / target)


def any_graph(folder: Path, target: str) -> None:
    PlainOnnx(folder / target)


def graph_metadata(folder: Path, target: str) -> None:
    from oaml_core.inference.model_metadata import read_model_metadata
    from oaml_core.inference.onnx_model import NEEDED

    found = read_model_metadata((folder / target).read_bytes(), target, NEEDED)
    found["image_size"] + 1
    for thresholds in found["thresholds"].values():
        {float(rate): value + 1 for rate, value in thresholds.items()}


class _Tensor(NamedTuple):
    name: str
    type: str
    shape: tuple[int, ...]


def tensors(folder: Path, target: str) -> None:
    body = (folder / target).read_bytes()
    length = str(body.rfind(b"}") + 1) if target.endswith(".body") else None
    inputs: Any = [_Tensor("image", "tensor(float)", (-1, 3, 4, 4))]
    outputs: Any = [_Tensor("embedding", "tensor(float)", (-1, 3))]
    read_request(body, length, inputs, outputs)


@cache
def _client() -> Any:
    from fastapi.testclient import TestClient

    from oaml_core.photos.faces import FaceFinder
    from oaml_core.serve.app import create_app
    from oaml_core.serve.faces import FaceService
    from oaml_core.serve.keys import Keys, key_digest
    from oaml_core.serve.limits import Limits

    limits = Limits(body=300_000, pixels=200 * 200, faces=3, seconds=60, workers=1, waiting=1, per_minute=10**9)
    faces = FaceService(PlainModel(), FaceFinder(aligned=True), None, pixels=limits.pixels, most=limits.faces)
    app = create_app(faces, Keys({key_digest("k"): "read"}, limits.per_minute), limits)
    client = TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": "k"})
    client.__enter__()
    return client


def form(folder: Path, target: str) -> None:
    """Send a damaged form to the service; what it cannot use is refused by a status below 500."""
    body = (folder / target).read_bytes()
    answer = _client().post(
        "/api/v1/compare", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code < 500, f"{answer.status_code} {answer.text[:200]}"


def store_notes(folder: Path, target: str) -> None:
    if target == "journal.done":
        with partial_file(folder / "whole", "content") as part:
            part.path.with_suffix(".done").write_bytes((folder / target).read_bytes())
        with partial_file(folder / "other", "content") as part:
            len(part.done)
        return
    store = FolderStore(folder / "store")
    store.stat("a.txt")
    store.is_intact("a.txt")
    store.read_bytes("a.txt")
