"""Small whole files of every kind that OAML reads; each is the beginning of damaged ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import sqlite3
import tarfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image, TiffImagePlugin
from plain_model import PlainModel, face_of

from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.recordio import frame_record
from oaml_core.forgetting.receipt import sign
from oaml_core.inference.gallery.database import Gallery
from oaml_core.settings import config_to_yaml

Files = dict[str, bytes]
SIDE = 16
KEY = b"k" * 32
PEOPLE = ("ann", "bob")
RECORD = {
    "version": "1",
    "model_uri": "runs/a/model.onnx",
    "metrics_uri": "runs/a/metrics.json",
    "promoted_at": "2030-01-01T00:00:00+00:00",
    "previous": None,
}


def to_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def picture(number: int = 0, kind: str = "JPEG", side: int = SIDE, **options: Any) -> bytes:
    """An encoded picture of noise."""
    values = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    data, image = io.BytesIO(), Image.fromarray(values)
    image = image.convert("RGBA") if options.pop("alpha", False) else image
    image.save(data, kind, **options)
    return data.getvalue()


def pictures() -> Files:
    """One picture of every admitted format, with and without metadata."""
    exif = Image.Exif()
    exif[0x0112] = 6
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = "a description"
    return {
        "plain.jpg": picture(1),
        "turned.jpg": picture(2, exif=exif.tobytes(), progressive=True),
        "clear.png": picture(3, "PNG", alpha=True),
        "small.gif": picture(4, "GIF"),
        "odd.webp": picture(5, "WEBP", exif=exif.tobytes()),
        "old.bmp": picture(6, "BMP"),
        "scan.tif": picture(7, "TIFF", tiffinfo=tags, compression="tiff_lzw"),
    }


def npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=True)
    return data.getvalue()


def npz(arrays: Mapping[str, np.ndarray], compressed: bool = False) -> bytes:
    data = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()


def landmarks(names: Sequence[str]) -> dict[str, Any]:
    return {name: [[1.0, 2.0]] * 5 for name in names}


def recordio() -> Files:
    """A record file with its header, identity records, index, and further facts."""
    people, images = 2, 4
    records = [frame_record(b"", (float(images + 1), float(images + 1 + people)))]
    records += [frame_record(picture(n), (float(n // 2),), id_=n + 1) for n in range(images)]
    records += [frame_record(b"", (float(1 + 2 * n), float(3 + 2 * n)), id_=images + 1 + n) for n in range(people)]
    places = np.cumsum([0, *map(len, records[:-1])])
    return {
        "train.rec": b"".join(records),
        "train.idx": "".join(f"{n}\t{place}\n" for n, place in enumerate(places)).encode(),
        "property": b"2,16,16\n",
        "train_meta.json": to_json({"identities": list(PEOPLE), "landmarks_by_record": landmarks(["1", "2"])}),
    }


def named_images() -> Files:
    return {f"{name}/{name}_{n:04d}.jpg": picture(n) for name in PEOPLE for n in range(1, 4)}


def bins() -> Files:
    """A verification set in each of the usual pickles."""
    images, truth = [picture(n) for n in range(4)], [True, False]
    arrays = [np.frombuffer(image, dtype=np.uint8) for image in images]
    meta = {"pairs": [["a/0", "a/1"], ["b/2", "c/3"]], "landmarks": landmarks(["a/0", "c/3"])}
    files = {f"p{n}.bin": pickle.dumps((images, truth), protocol=n) for n in (0, 2, 4, 5)}
    files |= {f"a{n}.bin": pickle.dumps((arrays, np.array(truth)), protocol=n) for n in (2, 5)}
    return files | {f"{name.removesuffix('.bin')}_meta.json": to_json(meta) for name in list(files)}


def lists() -> Files:
    """Every list of images or pairs, beside the images that they name."""
    images = named_images()
    names = list(images)
    rows = "".join(f"{name},{name.partition('/')[0]}\n" for name in names)
    pairs = f"first,second,same\n{names[0]},{names[1]},1\n{names[0]},{names[3]},0\n"
    return images | {
        "train.csv": f"path,identity\n{rows}".encode(),
        "semicolons.csv": f"sep=;\npath;identity\n{rows.replace(',', ';')}".encode("utf-16"),
        "train.txt": "".join(f"{name} {n // 3}\n" for n, name in enumerate(names)).encode(),
        "train.lst": "".join(f"{n}\t{n // 3}.0\t{name}\n" for n, name in enumerate(names)).encode(),
        "set_pairs.csv": pairs.encode(),
        "pairs.txt": b"1\t1\nann\t1\t2\nann\t1\tbob\t2\n",
        "people.txt": b"2\nann\t2\nbob\t3\n",
        "numbers.txt": b"0, 1, 4",
        "landmarks.json": to_json(landmarks(names[:2])),
    }


def table(columns: Mapping[str, Any], **options: Any) -> bytes:
    data = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), data, **options)
    return data.getvalue()


def parquets() -> Files:
    images = [{"bytes": picture(n), "path": None} for n in range(4)]
    names = list(named_images())[:4]
    truth = [True, True, False, False]
    return named_images() | {
        "train.parquet": table({"path": names, "identity": ["ann", "ann", "bob", "bob"]}),
        "train-00000.parquet": table({"image": images, "label": [0, 0, 1, 1]}, row_group_size=2),
        "verification/rows.parquet": table({"image": images, "is_same": truth}, compression="gzip"),
        "verification/columns.parquet": table({"image1": images[:2], "image2": images[2:], "same": truth[1:3]}),
    }


def tar(members: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def tars() -> Files:
    long = "a-long-name/" * 12
    members = [part for n in range(4) for part in ((f"{n}.jpg", picture(n)), (f"{n}.cls", str(n // 2).encode()))]
    members += [(f"{long}5.jpg", picture(5)), (f"{long}5.json", b'{"identity": 1}')]
    pairs = [("0.0.jpg", picture(0)), ("0.1.jpg", picture(1)), ("0.cls", b"1")]
    pairs += [("1.0.jpg", picture(2)), ("1.1.jpg", picture(3)), ("1.json", b'{"same": 0}')]
    return {
        "train/a-000.tar": tar(members),
        "train/b-000.tar": tar(members, tarfile.GNU_FORMAT),
        "verification/c-000.tar": tar(pairs),
    }


def memfiles() -> Files:
    """Verification sets as arrays, as AdaFace's tools and `oaml prepare` write them."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    planes = (pixels.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
    truth = npy(np.array([True, False]))
    return {
        "own.dat": pixels.tobytes(),
        "own.dat.conf": to_json({"shape": list(pixels.shape), "dtype": "uint8"}),
        "own_list.npy": truth,
        "ada/memfile/mem_file.dat": planes.tobytes(),
        "ada/memfile/mem_file.dat.conf": to_json({"shape": list(planes.shape), "dtype": "float32"}),
        "ada_list.npy": truth,
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
    """What the shards of a preparation leave in the store."""
    about = np.frombuffer(to_json({"parts": [], "kind": "image_folder"}), dtype=np.uint8)
    listing = to_json({"passed_over": []}) + b"\nann/1.jpg\t10\t5\nann/2.jpg\t11\t6\n"
    return {
        "shards/p/a.npz": npz({"labels": np.arange(3), "about": about}),
        "shards/p/listing-training.jsonl.gz": gzip.compress(listing),
    }


def tiles() -> Files:
    data = io.BytesIO()
    torch.save(torch.zeros(1, 8, 8), data)
    rows = [{"id": "0", "file": "one.pt", "split": "train", "is_clean": True, "domain": "a", "data_type": None}]
    manifest = {"fingerprint": "f", "shape": [1, 8, 8], "deviation": 1.0, "splits": {}}
    manifest["splits"] = {"train": {"domains": ["a", "b"], "shards": ["train-00000.npy"]}}
    return {
        "one.pt": data.getvalue(),
        "metadata.json": to_json({"tiles": rows}),
        "tiles.json": to_json(manifest),
        "train-00000.npy": npy(np.zeros((2, 1, 8, 8), np.float32)),
    }


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
    """What an exported model says of itself."""
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
