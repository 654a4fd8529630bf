"""Small whole files of the kinds that OAML itself writes; each is the beginning of damaged ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import sqlite3
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from fuzzing.samples import (
    KEY,
    PEOPLE,
    SIDE,
    Files,
    npy,
    npz,
    picture,
    to_json,
)
from plain_model import PlainModel, face_of

from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.listing import SourceFile
from oaml_core.data.sources.listing_file import line_of
from oaml_core.data.sources.recordio import frame_record
from oaml_core.folder_entries import FolderEntry
from oaml_core.forgetting.receipt import sign
from oaml_core.inference.gallery.database import Gallery
from oaml_core.settings import config_to_yaml
from tests.data_layer.written_inventory import csv_file, manifest_of, parquet_file, rows_of

RECORD = {
    "version": "1",
    "model_uri": "runs/a/model.onnx",
    "metrics_uri": "runs/a/metrics.json",
    "promoted_at": "2030-01-01T00:00:00+00:00",
    "previous": None,
}


def scores() -> Files:
    found = {
        "lfw/issame": np.array([True, False]),
        "lfw/identities": np.arange(4).reshape(2, 2).astype(np.int32),
        "lfw/digest": np.array("abc"),
        "lfw/clean/global": np.array([0.5, 0.1], dtype=np.float32),
    }
    return {"scores.npz": npz(found, compressed=True), "plain.npz": npz(found)}


def shard_files() -> Files:
    """Files that the shards of a preparation leave in the store."""
    about = np.frombuffer(to_json({"parts": [], "kind": "image_folder"}), dtype=np.uint8)
    unseen = FolderEntry("ann/.DS_Store", Path("ann/.DS_Store"), reason="of systems")
    listed = (unseen, SourceFile("ann/1.jpg", 10, "5"), SourceFile("ann/2.jpg", 11, "6"))
    listing = "".join(map(line_of, listed)).encode()
    return {
        "shards/p/a.npz": npz({"labels": np.arange(3), "about": about}),
        "shards/p/listing-training.jsonl.gz": gzip.compress(listing),
    }


def inventories() -> Files:
    """An inventory that S3 wrote of a bucket, in both formats."""
    rows = rows_of({"faces/ann/1.jpg": b"1", "faces/bo b/é.jpg": b"22", "other/x": b"3"})
    files = {"a.csv.gz": csv_file(rows), "a.parquet": parquet_file(rows)}
    return files | {"manifest.json": manifest_of({"a.csv.gz": files["a.csv.gz"]})}


def documents() -> Files:
    """Documents that say what is in production, what was measured, trained, promoted and decided."""
    sets = {"lfw": {"pairs": 2, "conditions": {"clean": {"global": {"accuracy": 0.5}}}}}
    result = {"best": {"step": 2, "sha256": "0" * 64}, "last": {"step": 4}, "metrics": {"val_acc": 0.5}}
    return {
        "models/production.json": to_json(RECORD),
        "models/1.json": to_json(RECORD),
        "models/decisions/last.json": to_json({"version": "1", "promoted": True, "reason": "", "when": "2030"}),
        "runs/a/metrics.json": to_json({"sets": sets, "headline": {"mean": 0.5}, "context": {}}),
        "runs/a/result.json": to_json(result),
        "runs/a/last.json": to_json({"name": "step-0000000002.ckpt"}),
        "runs/a/metrics.csv": b"step,name,value\n1,loss,0.5\n2,loss,0.25\n",
    }


def prepared() -> Files:
    """A prepared data set of two images."""
    images = [frame_record(picture(n), (float(n),), n) for n in range(2)]
    sizes = np.array([len(image) for image in images])
    numbers = {"labels": np.array([0, 1]), "parts": np.zeros(2, int), "offsets": np.array([0, sizes[0]])}
    numbers |= {"sizes": sizes, "sources": np.arange(2)}
    files = {"train/part-00000.rec": b"".join(images)}
    files |= {f"train/{name}.npy": npy(values.astype(np.int64)) for name, values in numbers.items()}
    content = {
        "fingerprint": "f",
        "source_kind": "image_folder",
        "image_size": SIDE,
        "channel_order": "rgb",
        "images": 2,
        "identities": list(PEOPLE),
        "verification": {},
        "visibility_pairs": 0,
        "set_aside": 0,
        "images_looked_at": 2,
        "warnings": [],
        "settings": {"data.image_size": SIDE},
        "format": 1,
        "files": [
            {"path": name, "size": len(data), "sha256": "0" * 64, "key": f"datasets/files/{'0' * 64}"}
            for name, data in files.items()
        ],
    }
    return files | {"manifest.json": to_json(content)}


def recipes() -> Files:
    return {
        "recipe.yaml": config_to_yaml(Config()).encode(),
        "short.yaml": b"optim: {lr: 0.1}\ndata: &d\n  batch_size: 8\nmodel: {arch: ir_mini}\n",
        "keys.txt": f"read {'0' * 64}\nadmin {'1' * 64} # a remark\n".encode(),
    }


@cache
def _gallery() -> bytes:
    model = PlainModel()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "people.gallery"
        with Gallery(path, model.version) as gallery:
            for person in range(2):
                records = model.records(face_of(person)[None])
                gallery.add(f"person {person}", records, source="x.png", digest=f"{person}" * 64, image=b"p")
        return path.read_bytes()


def galleries() -> Files:
    return {"people.gallery": _gallery()}


@cache
def _checksums() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "checksums.sqlite"
        with sqlite3.connect(path) as database:
            database.execute(
                "CREATE TABLE checksum (path TEXT PRIMARY KEY, size INTEGER, stamp TEXT, sha256 TEXT) WITHOUT ROWID"
            )
        database.close()
        return path.read_bytes()


def checksums() -> Files:
    return {"cache/checksums.sqlite": _checksums(), "faces/ann/1.jpg": picture(1)}


def archive(state: Any) -> bytes:
    data = io.BytesIO()
    torch.save(state, data)
    return data.getvalue()


@cache
def _checkpoint() -> bytes:
    from oaml_core.models.recogniser import build_recogniser

    config = Config(model=ModelConfig(arch="mobilefacenet", width=1))
    torch.manual_seed(0)
    weights = {f"recogniser.{name}": value for name, value in build_recogniser(config.model).state_dict().items()}
    state = {"config": config_to_yaml(config), "module": weights, "fingerprint": "f", "position": {"step": 1}}
    return archive(state)


def checkpoints() -> Files:
    from safetensors.torch import save

    return {
        "step-0000000001.ckpt": _checkpoint(),
        "weights.safetensors": save({"input.weight": torch.zeros(3, 3), "input.bias": torch.zeros(3)}),
        "weights.pth": archive({"state_dict": {"input.weight": torch.zeros(3, 3)}, "epoch": 3}),
    }


@cache
def _graph() -> bytes:
    from onnx import TensorProto, helper

    shape = ["n", 3, SIDE, SIDE]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])]
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    content: bytes = model.SerializeToString()
    return content


def graphs() -> Files:
    return {"model.onnx": _graph()}


def metadata() -> Files:
    """Metadata of an exported model."""
    scale = {"global_mean": 0.1, "global_std": 0.2, "local_mean": 1.0, "local_std": 2.0}
    bands = [{"from": 0.0, "to": 0.5, "pairs": 10, "tar": 0.5, "far": 0.001}]
    return {
        "oaml.json": to_json(
            {
                "image_size": SIDE,
                "preprocessing": True,
                "thresholds": {"global": {"0.001": 0.3}},
                "decision": "global",
                "combined": {"normalisation": scale, "global_weight": 0.5, "local_weight": 0.5},
                "by_visible_share": {"global": bands},
                "fusion": None,
            }
        )
    }


def requests() -> Files:
    """Bodies of requests for tensors, as JSON and with binary data behind it."""
    pixels = np.zeros((1, 3, 4, 4), np.float32)
    tensor = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32"}
    plain = {"id": "1", "inputs": [{**tensor, "data": pixels.ravel().tolist()}], "outputs": [{"name": "embedding"}]}
    binary = to_json({"inputs": [{**tensor, "parameters": {"binary_data_size": pixels.nbytes}}]})
    return {"plain.json": to_json(plain), "binary.body": binary + pixels.tobytes()}


def uploads() -> Files:
    """The body of a form with two photographs."""
    parts = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s.png"\r\nContent-Type: image/png\r\n\r\n%s\r\n'
        % (name, name, picture(number, "PNG"))
        for number, name in enumerate((b"first", b"second"))
    )
    return {"form.body": parts + b"--b--\r\n"}


def store_notes() -> Files:
    """A folder store's own notes, and the journal of a file that arrives in parts."""
    return {
        "store/a.txt": b"content",
        "store/.sha256/a.txt": hashlib.sha256(b"content").hexdigest().encode() + b"\n",
        "receipt.json": to_json(sign({"subject": "s", "when": "2030"}, KEY)),
        "journal.done": b"1\n2\n3\n",
    }
