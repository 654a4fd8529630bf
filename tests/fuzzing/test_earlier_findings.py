"""Damaged files that once ended in a traceback, or took memory without end; each stands for its kind."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fuzzing.bounds import read_within_bounds
from fuzzing.parsers import PARSERS
from fuzzing.places import write_files
from fuzzing.samples import npy

from oaml_core.data.prepare import fingerprint
from oaml_core.data.prepared.prepared import open_prepared
from oaml_core.data.sources.base import LocalFolder
from oaml_core.errors import DataError
from oaml_core.tracking import read_metrics


def described(dtype: object) -> bytes:
    return json.dumps({"shape": [4, 16, 16, 3], "dtype": dtype}).encode()


def tile(**values: object) -> bytes:
    row = {"id": "0", "file": "one.pt", "split": "train", "is_clean": True, "domain": "a"}
    return json.dumps({"tiles": [row | values]}).encode()


def altered(parser: str, target: str, where: bytes | int, put: bytes) -> bytes:
    """A parser's sound file with other bytes at a place, or after the first bytes that are `where`."""
    content = PARSERS[parser].files()[target]
    place = content.index(where) if isinstance(where, bytes) else where
    return content[:place] + put + content[place + len(put) :]


def manifest_with(**values: object) -> bytes:
    content = json.loads(PARSERS["prepared data"].files()["manifest.json"])
    return json.dumps(content | values).encode()


def columns(count: int) -> bytes:
    return ",".join(f"c{number}" for number in range(count)).encode()


CASES = {
    "a type of thousands of digits": ("prepared memfiles", "own.dat.conf", described("9" * 5000)),
    "one column many times": ("lists of pairs", "set_pairs.csv", b"first,second" + b",x" * 120_000 + b"\na,b,1\n"),
    "more columns than cells": ("lists of pairs", "set_pairs.csv", columns(60_000) + b"\n1" * 200_000),
    "a type that is code": ("prepared memfiles", "own.dat.conf", described("(2,)f4,f4")),
    "a type that is a number": ("prepared memfiles", "own.dat.conf", described(7)),
    "a type of no size": ("prepared memfiles", "own.dat.conf", described("f3")),
    "a type of thousands of digits, of pairs": ("memfiles of pairs", "own.dat.conf", described("9" * 5000)),
    "places before a part's begin": ("prepared data", "train/offsets.npy", npy(np.array([-5, -1]))),
    "records larger than the memory": ("prepared data", "train/sizes.npy", npy(np.array([1 << 62, 1 << 40]))),
    "sizes below zero": ("prepared data", "train/sizes.npy", npy(np.array([-1, -(1 << 60)]))),
    "a size of images that is no whole number": ("prepared data", "manifest.json", manifest_with(image_size=112.0)),
    "sets that are a number": ("prepared data", "manifest.json", manifest_with(verification=3)),
    "a set whose name no disk takes": ("prepared data", "manifest.json", manifest_with(verification={"a\0b": 3})),
    "an empty tile": ("tiles", "one.pt", b""),
    "a kind of tile that is a list": ("tiles", "metadata.json", tile(data_type=[1])),
    "a kind of tile that is an object": ("tiles", "metadata.json", tile(data_type={"a": 1})),
    "half a surrogate in YAML": ("recipes", "short.yaml", b"name: a\xff\xfe\nseed: 1\n"),
    "a line that numpy would make room for": (
        *("lists of templates", "meta/x_template_pair_label.txt"),
        b"1 " * 200_000 + b"\n",
    ),
    "templates that 64 bits do not hold": ("lists of templates", "meta/x_face_tid_mid.txt", b"1.jpg %d 1\n" % 10**30),
    "a roster that is no text": ("lists of templates", "meta/x_1N_gallery_G1.csv", b"TEMPLATE_ID,SUBJECT_ID\n\xff,1\n"),
    "a roster with an endless cell": ("lists of templates", "meta/x_1N_gallery_G1.csv", b"1,7\n" + b"2" * 200_000),
    "lengths of thousands of digits": (
        *("prepared memfiles", "own.dat.conf"),
        b'{"shape": [%s, 3], "dtype": "uint8"}' % (b"9" * 4000),
    ),
    "a Parquet column whose name is no text": (
        *("images in Parquet", "train-00000.parquet"),
        altered("images in Parquet", "train-00000.parquet", b"pathl", b"\xffathl"),
    ),
    "pairs in Parquet, likewise": (
        *("pairs in Parquet", "verification/rows.parquet"),
        altered("pairs in Parquet", "verification/rows.parquet", b"pathl", b"\xffathl"),
    ),
    "lengths whose product has thousands of digits": (
        *("prepared memfiles", "own.dat.conf"),
        b'{"shape": [4%s], "dtype": "uint8"}' % (b", 16" * 4000),
    ),
    "a gallery whose column has another name": (
        *("gallery", "people.gallery"),
        altered("gallery", "people.gallery", b"value TEXT", b"valve TEXT"),
    ),
    "an input of a graph whose length is no text": (
        *("ONNX graphs", "model.onnx"),
        altered("ONNX graphs", "model.onnx", b"\x12\x01n", b"\x12\x01\xff"),
    ),
    "a model without a size": ("metadata of models", "oaml.json", b'{"preprocessing": true, "thresholds": {}}'),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, target, content = CASES[case]
    parser = PARSERS[name]
    write_files(parser.files() | {target: content}, tmp_path)
    assert read_within_bounds(lambda folder: parser.read(folder, target), tmp_path) != "read"


@pytest.mark.parametrize("key", ["path", "size", "sha256", "key"])
def test_a_file_of_the_manifest_without_a_value_is_named(key: str, tmp_path: Path) -> None:
    files = PARSERS["prepared data"].files()
    content = json.loads(files["manifest.json"])
    content["files"][0][key] = None
    write_files(files | {"manifest.json": json.dumps(content).encode()}, tmp_path)
    with pytest.raises(DataError, match=f"manifest.json.*{key} is NoneType"):
        open_prepared(tmp_path)


@pytest.mark.parametrize("name", ["train/\0.rec", "train/\ud800.rec", "/etc/passwd", "train/../../x"])
@pytest.mark.parametrize("key", ["path", "key"])
def test_a_file_of_the_manifest_that_is_no_file_of_the_set_is_named(key: str, name: str, tmp_path: Path) -> None:
    files = PARSERS["prepared data"].files()
    content = json.loads(files["manifest.json"])
    content["files"][0][key] = name
    write_files(files | {"manifest.json": json.dumps(content).encode()}, tmp_path)
    with pytest.raises(DataError, match=r"manifest.json.*names .*no file of the data set"):
        open_prepared(tmp_path)


def test_checksums_that_another_process_holds_are_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "BUSY_SECONDS", 0.1)
    write_files(PARSERS["checksums"].files(), tmp_path)
    cache = tmp_path / "cache" / "checksums.sqlite"
    with closing(sqlite3.connect(cache)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            fingerprint.unknown_files({"": LocalFolder(tmp_path / "faces")}, cache)
        other.rollback()
    assert cache.read_bytes() == PARSERS["checksums"].files()["cache/checksums.sqlite"]


def test_checksums_whose_list_of_tables_is_damaged_are_made_again(tmp_path: Path) -> None:
    damaged = altered("checksums", "cache/checksums.sqlite", 103, bytes(5))  # a page that holds no entry
    write_files(PARSERS["checksums"].files() | {"cache/checksums.sqlite": damaged}, tmp_path)
    folders = {"": LocalFolder(tmp_path / "faces")}
    assert len(fingerprint.unknown_files(folders, tmp_path / "cache" / "checksums.sqlite")) == 1


def test_a_row_of_metrics_that_no_reader_takes_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n1,loss,0.5\n1," + "x" * 200_000 + ",1\n2,loss,0.25\n")
    assert read_metrics(path) == [(1, "loss", 0.5), (2, "loss", 0.25)]
