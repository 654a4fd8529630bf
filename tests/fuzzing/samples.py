"""Small whole files of every kind that OAML reads; each is the beginning of damaged ones."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image, TiffImagePlugin

from oaml_core.data.sources.recordio import frame_record

Files = dict[str, bytes]
SIDE = 16
KEY = b"k" * 32
PEOPLE = ("ann", "bob")


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
    """Three pictures per person, each of its own."""
    return {
        f"{name}/{name}_{n:04d}.jpg": picture(4 * person + n) for person, name in enumerate(PEOPLE) for n in range(1, 4)
    }


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
