"""Preparing by shards: the same data set to the last byte, however many; a shard that dies is made again alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from oaml_core.config import Config
from oaml_core.data.check import alignment
from oaml_core.data.prepare import shard_plan
from oaml_core.data.prepare.outbox import content_key
from oaml_core.data.prepare.parts import PartWriter, draws_of
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepare.shard_files import SHARDS, read_plan
from oaml_core.data.prepare.shard_merge import merge_shards, prepare_sharded
from oaml_core.data.prepare.shard_plan import plan_shards
from oaml_core.data.prepare.shards import make_shard
from oaml_core.data.prepared.manifest import Manifest
from oaml_core.data.sources.base import LocalFolder
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import ConfigError, DataError, StoreError
from oaml_core.photos import yunet
from oaml_core.photos.yunet import YuNet
from oaml_core.store import Store, open_store
from tests.data_layer.conftest import face, truncate, write_bin
from tests.data_layer.test_check import add_masks

PARTS = (6_000, 15_000, 30_000)
"""Sizes of parts that make many of a few images."""


one_detector = cache(YuNet)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartWriter.__init__, "__defaults__", PARTS)
    monkeypatch.setattr(alignment, "LOOKED_AT", 3)  # faces that the detector is shown
    monkeypatch.setattr(yunet, "YuNet", one_detector)


@pytest.fixture
def faces(image_folder: Path) -> Path:
    """60 images with everything that checks count: broken, blank, twice, seen in verification, other sizes."""
    for identity in range(3):
        for number in range(14):
            path = image_folder / f"person{identity}" / f"more{number}.jpg"
            path.write_bytes(encode_jpeg(face(1000 + 100 * identity + number)))
    truncate(image_folder / "person1" / "more3.jpg", 300)
    (image_folder / "person0" / "blank.jpg").write_bytes(encode_jpeg(np.full((112, 112, 3), 7, np.uint8)))
    (image_folder / "person2" / "large.jpg").write_bytes(encode_jpeg(face(77, side=160)))
    (image_folder / "person2" / "twin.jpg").write_bytes((image_folder / "person0" / "0.jpg").read_bytes())
    seen = (image_folder / "person1" / "0.jpg").read_bytes()
    images = [seen, *(encode_jpeg(face(4000 + number)) for number in range(19))]
    write_bin(image_folder / "own.bin", images, [True, False] * 5)
    points = [[40.0, 50.0], [70.0, 50.0], [56.0, 70.0], [42.0, 88.0], [70.0, 88.0]]
    known = {f"person2/{name}.jpg": points for name in ("large", "0", "more2")}
    (image_folder / "train_meta.json").write_text(json.dumps({"landmarks_by_path": known}))
    add_masks(image_folder, ["a", "b", "c"], visible=0.75)
    return image_folder


def at(config: Config, folder: Path) -> tuple[Config, Store]:
    """The same configuration with a store and a disk of its own."""
    moved = dataclasses.replace(config, work_dir=str(folder / "work"), store=str(folder / "store"))
    return moved, open_store(moved.store)


def contents(store: Store, manifest: Manifest) -> dict[str, bytes]:
    return {file.path: store.read_bytes(file.key) for file in manifest.files}


Source = Callable[[Path, Path], dict[str, object]]


def a_folder(faces: Path, _: Path) -> dict[str, object]:
    return {"source": str(faces), "min_images_per_identity": 4}


def at_most_nine(faces: Path, _: Path) -> dict[str, object]:
    return {"source": str(faces), "max_images_per_identity": 9}


def a_list(faces: Path, _: Path) -> dict[str, object]:
    """Identities in turn, so that every shard has some of each; a path that is not there, and one in other case."""
    names = sorted(path.relative_to(faces).as_posix() for path in faces.glob("person*/*.jpg"))
    lines = [f"{name},{name.partition('/')[0]}" for name in sorted(names, key=lambda name: name.rpartition("/")[2])]
    absent = ["gone.jpg,person1", f"{names[-1].upper()},person1"]
    (faces / "train.csv").write_text("\n".join(["path,identity", *lines, *absent]) + "\n")
    return {"source": str(faces), "max_images_per_identity": 9}


def records(_: Path, recordio: Path) -> dict[str, object]:
    return {"source": str(recordio)}


def drawn(_: Path, __: Path) -> dict[str, object]:
    return {"synthetic_identities": 4, "synthetic_images_per_identity": 3, "synthetic_pairs": 20}


@pytest.mark.parametrize(
    ("source", "few", "counts"),
    [
        (a_folder, 0, (1, 3, 16)),
        (a_folder, 1_000, (16,)),
        (at_most_nine, 0, (16,)),
        (a_list, 0, (3,)),
        (records, 1_000, (1, 3)),
        (drawn, 1_000, (3,)),
    ],
)
def test_any_number_of_shards_makes_the_same_data_set(
    source: Source,
    few: int,
    counts: tuple[int, ...],
    faces: Path,
    recordio: Path,
    config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`few`: how many checksums are asked for before work is shared out; 0 leaves all of them to the shards."""
    monkeypatch.setattr(shard_plan, "FEW", few)
    keys = {"broken_images_tolerated": 0.2} | source(faces, recordio)
    given = config(keys.pop("source", None), **keys)
    alone, store = at(given, tmp_path / "alone")
    expected = prepare_dataset(alone, store).manifest
    files = contents(store, expected)
    for shards in counts:
        moved, there = at(given, tmp_path / f"{shards}")
        made = prepare_sharded(moved, there, shards)
        assert made.manifest.to_json() == expected.to_json()
        assert contents(there, made.manifest) == files
        assert prepare_dataset(moved, there).reused


def test_parts_end_where_the_writer_ends_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    for sizes in ((6_000, 15_000, 30_000), (1, 2, 30_000), (500, 600, 700), (0, 10_000, 10_000)):
        digests = generator.integers(0, 256, (300, 32), dtype=np.uint8)
        images = [generator.bytes(int(size)) for size in generator.integers(1, 4_000, 300)]
        with PartWriter(tmp_path, lambda path, _: path.unlink(), *sizes) as writer:
            places = np.array(
                [writer.add(image, digest.tobytes()) for image, digest in zip(images, digests, strict=True)]
            )
        ends = writer.ends(places[:, 2], draws_of(digests))
        assert ends == [*(np.flatnonzero(np.diff(places[:, 0])) + 1).tolist(), 300]


def test_a_shard_that_dies_is_made_again_alone(
    faces: Path, tmp_path: Path, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = at(config(faces, broken_images_tolerated=0.2), tmp_path / "x")
    read: list[str] = []
    whole = LocalFolder.read

    def failing(folder: LocalFolder, name: str) -> bytes:
        read.append(name)
        if name == "person1/more5.jpg" and read.count(name) == 1:
            raise KeyboardInterrupt
        return whole(folder, name)

    monkeypatch.setattr(LocalFolder, "read", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare_sharded(made, store, 4)
    before = list(read)
    assert not list(store.list("datasets/0")), "no manifest before all shards are there"
    result = prepare_sharded(made, store, 4)
    again = read[len(before) :]
    assert "person0/more5.jpg" in before  # of the first shard
    assert "person0/more5.jpg" not in again
    assert "person1/more5.jpg" in again
    assert result.manifest.images == prepare_dataset(*at(made, tmp_path / "alone")).manifest.images


def test_shards_may_be_made_in_any_order_and_twice(faces: Path, tmp_path: Path, config: Callable[..., Config]) -> None:
    made, store = at(config(faces, broken_images_tolerated=0.2), tmp_path / "x")
    plan = plan_shards(made, store, 3)
    assert plan_shards(made, store, 3) == plan
    assert [make_shard(made, store, plan.key, number) for number in (2, 0, 2, 1)] == [True, True, False, True]
    first = merge_shards(made, store, plan.key)
    assert not first.reused
    again = merge_shards(made, store, plan.key)  # a step that is tried again after it had ended
    assert again.reused
    assert again.fingerprint == first.fingerprint
    assert make_shard(made, store, plan.key, 0) is False
    assert [info.key for info in store.list(f"{SHARDS}/")] == [f"{SHARDS}/{plan.key}/plan.json"]


def test_with_nothing_new_nothing_is_shared_out(
    faces: Path, tmp_path: Path, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = at(config(faces, broken_images_tolerated=0.2), tmp_path / "x")
    first = prepare_dataset(made, store)
    monkeypatch.setattr(LocalFolder, "read", lambda *_: pytest.fail("an image was read"))
    plan = plan_shards(made, store, 3)
    assert plan.made == first.fingerprint
    assert prepare_sharded(made, store, 3).reused


def test_an_image_that_is_added_costs_one_part(faces: Path, tmp_path: Path, config: Callable[..., Config]) -> None:
    made, store = at(config(faces, broken_images_tolerated=0.2), tmp_path / "x")
    first = prepare_sharded(made, store, 3).manifest
    (faces / "person0" / "00.jpg").write_bytes(encode_jpeg(face(5000)))
    second = prepare_sharded(made, store, 3).manifest
    parts = [{file.sha256 for file in each.files if file.path.endswith(".rec")} for each in (first, second)]
    assert len(parts[1] - parts[0]) <= 2


def test_parts_that_are_collected_meanwhile_are_made_again(
    faces: Path, tmp_path: Path, config: Callable[..., Config]
) -> None:
    made, store = at(config(faces, broken_images_tolerated=0.2), tmp_path / "x")
    plan = plan_shards(made, store, 3)
    for number in range(3):
        make_shard(made, store, plan.key, number)
    alone = prepare_dataset(*at(made, tmp_path / "alone"))
    for file in alone.manifest.files:
        if file.path.endswith(".rec"):
            store.delete(content_key(file.sha256))
    merged = merge_shards(made, store, plan.key)
    assert merged.manifest == alone.manifest
    assert contents(store, merged.manifest)


@pytest.fixture
def shared_out(faces: Path, tmp_path: Path, config: Callable[..., Config]) -> tuple[Config, Store, str]:
    made, store = at(config(faces, broken_images_tolerated=0.2), tmp_path / "x")
    return made, store, plan_shards(made, store, 3).key


def test_what_cannot_be_merged_is_said(shared_out: tuple[Config, Store, str], faces: Path) -> None:
    config, store, key = shared_out
    with pytest.raises(ConfigError, match=r"no shard 3: the plan .* has 3"):
        make_shard(config, store, key, 3)
    with pytest.raises(ConfigError, match="shards is 0"):
        plan_shards(config, store, 0)
    with pytest.raises(ConfigError, match="oaml align FOLDER OUT"):
        plan_shards(dataclasses.replace(config, data=dataclasses.replace(config.data, align=True)), store, 3)
    with pytest.raises(StoreError, match="There is no plan"):
        read_plan(store, "0" * 16)
    write_bin(faces / "own.bin", [encode_jpeg(face(4000 + number)) for number in range(20)], [True, False] * 5)
    with pytest.raises(DataError, match="verification sets changed"):
        merge_shards(config, store, key)
