"""Preparation from and to an S3 server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import DataError
from oaml_core.store import open_store


def test_a_source_in_a_bucket_becomes_a_data_set_in_a_bucket(
    recordio: Path, tmp_path: Path, config, monkeypatch
) -> None:
    (tmp_path / "server").mkdir()
    with embedded_s3(tmp_path / "server") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for path in recordio.iterdir():
            open_store("s3://raw/faces").put_file(path, path.name)
        there = config()
        there = replace(there, store="s3://oaml/run", data=replace(there.data, source="s3://raw/faces"))
        made = prepare_dataset(there, open_store(there.store))
        dataset = fetch_prepared(made.uri, tmp_path / "elsewhere")
        assert prepare_dataset(there, open_store(there.store)).reused

    here = prepare_dataset(config(recordio), open_store(str(tmp_path / "store")))
    assert here.fingerprint == made.fingerprint
    assert [dataset.train.encoded(i) for i in (0, 59)] == [
        fetch_prepared(here.uri, tmp_path / "here").train.encoded(i) for i in (0, 59)
    ]


def test_a_damaged_object_is_not_taken(image_folder: Path, tmp_path: Path, config) -> None:
    made = prepare_dataset(config(image_folder), open_store(config().store))
    labels = next(file for file in made.manifest.files if file.path == "train/labels.npy")
    stored = Path(config().store) / labels.key
    stored.write_bytes(stored.read_bytes()[:-1] + b"\1")
    for digest in Path(config().store).rglob(f".sha256/**/{stored.name}"):
        digest.unlink()  # as on a server that does not keep checksums
    with pytest.raises(DataError, match="is damaged"):
        fetch_prepared(made.uri, tmp_path / "elsewhere")
