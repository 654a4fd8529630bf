"""A person is found in stores on a server, in shared preparations, behind links, and in unfinished uploads."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forgetting.conftest import NAME, Planted

from oaml_core import stages
from oaml_core.config import DataConfig
from oaml_core.data.prepare.shard_files import SHARDS
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.evaluation.scoring.shard_parts import ShardPart, ShardParts
from oaml_core.forgetting.forget import forget
from oaml_core.store import open_store


@pytest.fixture
def on_a_server(planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    """The same, with the store on an S3 server, whose files lie in `served`."""
    with embedded_s3(tmp_path / "served") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        config = replace(planted.config, store="s3://people/shelf")
        store = open_store(config.store)
        store.put_tree(tmp_path / "store", "")
        for path in sorted((tmp_path / "store").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        uri = store.url(f"datasets/{planted.fingerprint}")
        yield Planted(config, store, planted.gallery, uri, planted.needles)


def test_nothing_is_left_in_a_store_on_a_server(on_a_server: Planted) -> None:
    assert set(on_a_server.needles) == set(on_a_server.hits())
    done = forget(on_a_server.case(NAME), apply=True, scan=True)
    assert on_a_server.hits() == {}
    assert done.receipt is not None
    assert done.receipt["scan"]["hits"] == []
    assert not forget(on_a_server.case(NAME)).found


def unpacked(folder: Path) -> dict[str, bytes]:
    """Contents of all files, listings unpacked."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(p): gzip.decompress(p.read_bytes()) if p.suffix == ".gz" and ".sha256" not in p.parts else p.read_bytes()
        for p in files
    }


def test_a_shared_preparation_that_names_the_person_goes_and_can_be_made_again(
    planted: Planted, tmp_path: Path
) -> None:
    shared = replace(planted.config, seed=5, data=replace(planted.config.data, max_images_per_identity=3))
    orders = stages.plan_shards(shared, 2)
    stages.prepare_shard(shared, orders[0])
    told = unpacked(tmp_path / "store" / SHARDS)
    assert any(NAME.encode() in content for content in told.values())
    done = forget(planted.case(NAME), apply=True, scan=True)
    assert not any(NAME.encode() in content for content in unpacked(tmp_path / "store").values())
    assert planted.hits() == {}
    assert [each.found for each in done.searched if each.place == "shared work"] != [[]]
    again = stages.plan_shards(shared, 2)
    for order in again:
        stages.prepare_shard(shared, order)
    made = stages.merge_shards(shared, again[0])
    assert NAME not in stages.fetch_dataset(shared, made.dataset_uri).manifest.identities


def test_what_a_killed_shard_has_left_on_this_machine_goes(planted: Planted, tmp_path: Path) -> None:
    left = tmp_path / "work" / SHARDS / "0123456789abcdef"
    (left / "00000" / "train").mkdir(parents=True)
    (left / ".0.lock").touch()
    assert str(tmp_path / "work" / SHARDS) not in str(forget(planted.case(NAME)).searched)
    (left / "00000" / "train" / "part-00000.rec").write_bytes(b"framed " + planted.needles["image 0"])
    with gzip.open(left / "listing-training", "wb") as listing:
        listing.write(f"{NAME}/0.jpg\t1\t2\n".encode())
    forget(planted.case(NAME), apply=True, scan=True)
    assert not left.exists()


def test_parts_of_an_evaluation_go_with_the_data_set_that_they_are_of_and_where_nobody_knows_it(
    planted: Planted,
) -> None:
    store, source = planted.store, planted.work.parent / "source"
    shutil.copytree(source / "faces", source / "others")
    shutil.rmtree(source / "others" / NAME)
    data = DataConfig(source=str(source / "others"), held_out_share=0.0, num_instances=2, batch_size=4)
    other = stages.prepare(replace(planted.config, data=data)).fingerprint
    for name, fingerprint in (("with", planted.fingerprint), ("without", other), ("unknown", "0" * 16)):
        parts = ShardParts(store, f"evaluation-{name}", 2, {"data set": fingerprint}, "oaml evaluate")
        found = ShardPart({"clean/global_score": np.zeros(3)}, slice(0, 3), 1.0, "cpu")
        parts.write("own", EvaluationShard(1, 2), found)
    forget(planted.case(NAME), apply=True)
    assert [info.key for info in store.list(f"{SHARDS}/")] == [f"{SHARDS}/evaluation-without-2/own-00001.npz"]


@pytest.mark.parametrize("keeps", [True, None])
def test_a_bucket_that_keeps_versions_or_does_not_say_is_told(
    planted: Planted, keeps: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oaml_core.store.folder.FolderStore.keeps_versions", lambda store: keeps)
    done = forget(planted.case(NAME))
    assert any("versions of objects" in each.why for each in done.remains)


def test_what_was_begun_and_not_ended_goes(planted: Planted, tmp_path: Path) -> None:
    left = tmp_path / "store" / "runs" / ".model.onnx.0123abcd.tmp"
    left.write_bytes(planted.needles["image 0"])
    forget(planted.case(NAME), apply=True)
    assert not left.exists()
    assert planted.hits() == {}


def test_links_that_leave_the_folder_are_told(planted: Planted, tmp_path: Path) -> None:
    outside = tmp_path / "source" / "elsewhere.ckpt"
    outside.write_bytes(b"x")
    (planted.work / "away.ckpt").symlink_to(outside)
    done = forget(planted.case(NAME))
    assert any("away.ckpt" in each.where and "out of the folder" in each.why for each in done.remains)
    assert outside.read_bytes() == b"x"
