"""Preparation: the same images out as in, the same fingerprint for the same input, and nothing sent twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepare.prepare import StoredDataset, prepare_dataset
from oaml_core.data.prepared.manifest import MANIFEST
from oaml_core.data.prepared.prepared import PreparedDataset, dataset_folder, fetch_prepared, open_prepared
from oaml_core.decoding.decode import decode_image, encode_jpeg
from oaml_core.errors import DataError
from oaml_core.store import open_store
from tests.data_layer.conftest import face, flip_bit, truncate, write_bin
from tests.data_layer.test_check import add_masks

SYNTHETIC = {"synthetic_identities": 4, "synthetic_images_per_identity": 3, "synthetic_pairs": 20}


def prepare(config) -> StoredDataset:
    return prepare_dataset(config, open_store(config.store))


def fetched(prepared: StoredDataset, tmp_path: Path) -> PreparedDataset:
    return fetch_prepared(prepared.uri, tmp_path / "elsewhere" / prepared.fingerprint)


def objects(config) -> set[str]:
    return {info.key for info in open_store(config.store).list("")}


def test_records_come_out_as_they_went_in(recordio: Path, tmp_path: Path, config) -> None:
    dataset = fetched(prepare(config(recordio)), tmp_path)
    expected = json.loads((recordio / "expected.json").read_text())["images"]
    assert [hashlib.sha256(dataset.train.encoded(i)).hexdigest() for i in range(60)] == [row[3] for row in expected]
    assert dataset.train.labels.tolist() == [row[1] for row in expected]
    assert dataset.train.sources.tolist() == list(range(60))
    assert dataset.train.num_identities == dataset.manifest.num_identities == 12


def test_two_at_a_time_make_a_data_set_once(recordio: Path, tmp_path: Path, config) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(prepare, [config(recordio)] * 2)
    assert sorted([first.reused, second.reused]) == [False, True]
    assert first.manifest == second.manifest
    assert len(fetched(first, tmp_path).train) == 60


def test_an_image_is_read_as_rgb_channels_first(image_folder: Path, tmp_path: Path, config) -> None:
    dataset = fetched(prepare(config(image_folder)), tmp_path)
    image, label = dataset.train[3]
    assert image.dtype == torch.uint8
    assert label == 1
    expected = decode_image((image_folder / "person1" / "0.jpg").read_bytes())
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
    assert dataset.manifest.identities == ["person0", "person1", "person2"]


def test_bgr_images_stay_as_they_are_and_are_read_as_rgb(image_folder: Path, tmp_path: Path, config) -> None:
    path = image_folder / "person0" / "0.jpg"
    path.write_bytes(encode_jpeg(face(0)[..., ::-1]))
    dataset = fetched(prepare(config(image_folder, channel_order="bgr")), tmp_path)
    assert dataset.train.encoded(0) == path.read_bytes()
    red, _, blue = dataset.train.read(0).float().mean(dim=(1, 2))
    assert red > blue + 20


def test_other_sizes_are_resized_and_landmarks_with_them(recordio: Path, tmp_path: Path, config) -> None:
    points = [[10.0, 20.0]] * 5
    (recordio / "train_meta.json").write_text(json.dumps({"landmarks_by_record": {"1": points}}))
    dataset = fetched(prepare(config(recordio, image_size=224)), tmp_path)
    assert dataset.train.read(0).shape == (3, 224, 224)
    assert dataset.train.landmarks is not None
    np.testing.assert_allclose(dataset.train.landmarks[0], [[20.0, 40.0]] * 5)
    assert np.isnan(dataset.train.landmarks[1]).all()


def test_drawn_faces_are_a_data_set_like_any_other(tmp_path: Path, config) -> None:
    dataset = fetched(prepare(config(**SYNTHETIC)), tmp_path)
    assert (len(dataset.train), dataset.train.num_identities) == (12, 4)
    pairs = dataset.verification["synthetic"]
    assert pairs.images.shape == (40, 112, 112, 3)
    assert pairs.issame.reshape(10, 2).sum(axis=1).tolist() == [1] * 10
    assert pairs.landmarks is not None
    assert dataset.train.landmarks is not None
    assert not np.isnan(dataset.train.landmarks).any()


def test_the_second_run_copies_nothing(image_folder: Path, config) -> None:
    first = prepare(config(image_folder))
    before = objects(config())
    second = prepare(config(image_folder))
    assert not first.reused
    assert second.reused
    assert second.manifest == first.manifest
    assert objects(config()) == before


def test_what_a_run_leaves_beside_the_records_is_no_part_of_them(recordio: Path, config) -> None:
    first = prepare(config(recordio))
    assert (recordio / "train.rec.index").exists()
    second = prepare(config(recordio))
    assert second.reused
    assert second.fingerprint == first.fingerprint


def test_a_changed_source_sends_only_what_changed(image_folder: Path, tmp_path: Path, config, monkeypatch) -> None:
    monkeypatch.setattr(PartWriter.__init__, "__defaults__", (10_000, 30_000, 60_000))
    for identity in range(3):
        for number in range(30):
            path = image_folder / f"person{identity}" / f"more{number}.jpg"
            path.write_bytes(encode_jpeg(face(1000 + 100 * identity + number)))
    first = prepare(config(image_folder))
    (image_folder / "person0" / "00.jpg").write_bytes(encode_jpeg(face(5000)))
    second = prepare(config(image_folder))
    assert second.fingerprint != first.fingerprint
    parts = [{f.sha256 for f in p.manifest.files if f.path.endswith(".rec")} for p in (first, second)]
    assert len(parts[0]) > 8
    assert len(parts[1] - parts[0]) <= 2
    assert len(fetched(second, tmp_path).train) == len(fetched(first, tmp_path).train) + 1


def test_the_fingerprint_depends_on_content_not_on_time_or_place(image_folder: Path, tmp_path: Path, config) -> None:
    first = prepare(config(image_folder)).manifest
    copy = tmp_path / "copy"
    shutil.copytree(image_folder, copy)
    for path in copy.rglob("*.jpg"):
        os.utime(path, (1, 1))
    other = dataclasses.replace(config(copy), work_dir=str(tmp_path / "w2"), store=str(tmp_path / "s2"))
    assert prepare(other).manifest == first


@pytest.mark.parametrize(
    "keys",
    [
        {"image_size": 224},
        {"channel_order": "bgr"},
        {"min_images_per_identity": 4},
        {"max_images_per_identity": 2},
        {"subset": "one"},
    ],
)
def test_keys_that_change_the_result_change_the_fingerprint(image_folder, tmp_path, config, keys) -> None:
    if "subset" in keys:
        (tmp_path / "one").write_text("person0/0.jpg\nperson0/1.jpg")
        keys = {"subset": str(tmp_path / "one")}
    assert prepare(config(image_folder, **keys)).fingerprint != prepare(config(image_folder)).fingerprint


def test_keys_that_change_nothing_leave_the_fingerprint(image_folder: Path, config) -> None:
    assert (
        prepare(config(image_folder, batch_size=16, num_workers=3)).fingerprint
        == prepare(config(image_folder)).fingerprint
    )


def test_seed_and_counts_decide_what_is_drawn(config) -> None:
    first = prepare(config(**SYNTHETIC)).fingerprint
    assert prepare(dataclasses.replace(config(**SYNTHETIC), seed=1)).fingerprint != first
    assert prepare(config(**(SYNTHETIC | {"synthetic_identities": 5}))).fingerprint != first


def test_an_unchanged_source_is_not_read_again(image_folder: Path, config) -> None:
    """Contents are swapped behind unchanged size and time: only checksums from the first run explain the result."""
    first = prepare(config(image_folder))
    path = image_folder / "person0" / "0.jpg"
    stat = path.stat()
    path.write_bytes(b"x" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepare(config(image_folder)).fingerprint == first.fingerprint


def test_limits_make_labels_contiguous_and_keep_the_names(image_folder: Path, tmp_path: Path, config) -> None:
    dataset = fetched(prepare(config(image_folder, min_images_per_identity=4, max_images_per_identity=4)), tmp_path)
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4
    assert dataset.manifest.identities == ["person1", "person2"]


def test_an_identity_that_loses_too_many_images_is_left_out(image_folder: Path, tmp_path: Path, config) -> None:
    truncate(image_folder / "person1" / "2.jpg", 700)
    tolerant = config(image_folder, min_images_per_identity=4, broken_images_tolerated=0.5)
    dataset = fetched(prepare(tolerant), tmp_path)
    assert dataset.manifest.identities == ["person2"]
    assert dataset.train.labels.tolist() == [0] * 5
    assert dataset.manifest.set_aside == 1
    assert "person1/2.jpg" in (dataset.directory / "checks.json").read_text()


def test_a_refused_source_leaves_no_manifest(image_folder: Path, config) -> None:
    truncate(image_folder / "person1" / "2.jpg", 700)
    with pytest.raises(DataError, match="Training must not start"):
        prepare(config(image_folder))
    assert not [key for key in objects(config()) if key.endswith(MANIFEST)]
    assert "person1/2.jpg" in (Path(config().work_dir) / "checks.json").read_text()


def test_a_reused_data_set_is_judged_by_todays_tolerance(image_folder: Path, config) -> None:
    truncate(image_folder / "person1" / "2.jpg", 700)
    prepare(config(image_folder, broken_images_tolerated=0.5))
    with pytest.raises(DataError, match="broken_images_tolerated"):
        prepare(config(image_folder))


def test_masks_come_out_with_their_faces(image_folder: Path, tmp_path: Path, config) -> None:
    names = [f"face{n:03d}" for n in range(60)]
    add_masks(image_folder, names, visible=0.5)
    dataset = fetched(prepare(config(image_folder)), tmp_path)
    visibility = pickle.loads(pickle.dumps(dataset.visibility))
    image, mask = visibility.read(7)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), decode_image(encode_jpeg(face(70))))
    assert mask.shape == (1, 112, 112)
    assert mask[0, :56].min() == 1
    assert mask[0, 56:].max() == 0
    train, held_out = visibility.indices("train"), visibility.indices("validation")
    assert sorted([*train, *held_out]) == list(range(60))
    assert 0 < len(held_out) < 20


def test_the_split_of_masks_does_not_move_when_faces_are_added(image_folder: Path, tmp_path: Path, config) -> None:
    def held_out() -> set[str]:
        dataset = fetched(prepare(config(image_folder)), tmp_path)
        names = json.loads((dataset.directory / "visibility" / "names.json").read_text())
        return {names[i] for i in dataset.visibility.indices("validation")}

    add_masks(image_folder, [f"face{n:03d}" for n in range(40)], visible=0.5)
    before = held_out()
    add_masks(image_folder, ["a_new_face", "zz"], visible=0.5)
    assert before <= held_out()


def test_the_data_set_reads_the_same_in_another_process(image_folder: Path, tmp_path: Path, config) -> None:
    train = fetched(prepare(config(image_folder)), tmp_path).train
    loader = torch.utils.data.DataLoader(train, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    images = torch.cat([images for images, _ in loader])
    assert torch.equal(images, torch.stack([train.read(i) for i in range(len(train))]))


def test_a_local_copy_is_left_where_the_disk_has_room(image_folder: Path, config) -> None:
    made = prepare(config(image_folder))
    assert len(open_prepared(dataset_folder(config(), made.fingerprint)).train) == 12


def test_without_room_each_part_is_removed_once_it_was_sent(
    image_folder: Path, tmp_path: Path, config, monkeypatch
) -> None:
    monkeypatch.setattr("oaml_core.data.prepare.prepare.ROOM", 10**15)
    made = prepare(config(image_folder))
    assert not list((tmp_path / "work").rglob("*.rec"))
    assert len(fetched(made, tmp_path).train) == 12


def test_fetching_again_repairs_a_folder(image_folder: Path, tmp_path: Path, config) -> None:
    made = prepare(config(image_folder))
    dataset = fetched(made, tmp_path)
    (dataset.directory / "train" / "labels.npy").unlink()
    truncate(dataset.directory / "train" / "part-00000.rec", 100)
    with pytest.raises(DataError, match="it is cut off"):
        open_prepared(dataset.directory)
    assert len(fetched(made, tmp_path).train) == 12


def test_damage_of_a_prepared_part_is_named_with_the_image(image_folder: Path, tmp_path: Path, config) -> None:
    dataset = fetched(prepare(config(image_folder)), tmp_path)
    flip_bit(dataset.directory / "train" / "part-00000.rec", 0)
    with pytest.raises(DataError, match=r"training image 0 .*part-00000\.rec at byte 0"):
        dataset.train.read(0)


def test_an_unfinished_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no complete data set"):
        open_prepared(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(DataError, match="no manifest"):
        open_prepared(tmp_path)


def test_a_manifest_that_leaves_its_folder_is_refused(image_folder: Path, tmp_path: Path, config) -> None:
    dataset = fetched(prepare(config(image_folder)), tmp_path)
    text = dataset.manifest.to_json().replace('"train/labels.npy"', '"../../labels.npy"')
    (dataset.directory / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="is no file of the data set"):
        open_prepared(dataset.directory)


def test_verification_sets_are_opened_by_name(recordio: Path, tmp_path: Path, config) -> None:
    write_bin(recordio / "small_lfw.bin", [encode_jpeg(face(n)) for n in range(20)], [True, False] * 5)
    dataset = fetched(prepare(config(recordio)), tmp_path)
    assert dataset.manifest.verification == {"small_lfw": 10}
    assert len(dataset.verification["small_lfw"]) == 10
