"""People held out where a source brings no verification set, and what later stages demand, asked before training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.data.check.checks import check_source
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.data.sources.inputs import open_folders, open_inputs
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from oaml_core.evaluation.statistics.protocols import ten_fold, ten_fold_any_range
from oaml_core.store import open_store
from tests.data_layer.conftest import face, write_bin

SHARE = {"held_out_share": 0.1}


def people(folder: Path, count: int, images: int = 3) -> Path:
    for person in range(count):
        (folder / f"p{person:02d}").mkdir(parents=True)
        for image in range(images):
            (folder / f"p{person:02d}" / f"{image}.jpg").write_bytes(encode_jpeg(face(100 * person + image)))
    return folder


def test_people_are_held_out_by_name_and_never_trained_on(tmp_path: Path, config) -> None:
    settings = config(people(tmp_path / "faces", 20), **SHARE)
    store = open_store(str(tmp_path / "store"))
    made = prepare_dataset(settings, store)
    dataset = fetch_prepared(made.uri, tmp_path / "fetched")
    assert list(dataset.verification) == ["held_out"]
    pairs = dataset.verification["held_out"]
    assert pairs.issame.mean() == 0.5
    same = pairs.identities[0::2] == pairs.identities[1::2]
    assert (same == pairs.issame).all()
    assert dataset.manifest.num_identities == 16
    assert any("held out" in warning for warning in made.manifest.warnings)
    trained = set(dataset.manifest.identities)
    (tmp_path / "faces" / "p99").mkdir()
    for image in range(3):
        (tmp_path / "faces" / "p99" / f"{image}.jpg").write_bytes(encode_jpeg(face(9900 + image)))
    again = open_inputs(settings, open_folders(settings.data, tmp_path / "scratch"))
    held = {f"p{n:02d}" for n in range(20)} - trained
    still = {name.split("/")[0] for name in again.verification[0].files}
    assert len(held & still) >= 3, "who is held out hangs on the names"


@pytest.mark.parametrize("count", [10, 20, 25, 30])
def test_no_pair_of_held_out_people_is_drawn_twice(count: int, tmp_path: Path, config) -> None:
    """Among an even number of people, those who stand opposite in the list meet from both sides."""
    settings = config(people(tmp_path / "faces", count, images=5), held_out_share=0.2)
    pairs = open_inputs(settings, open_folders(settings.data, tmp_path / "scratch")).verification[0]
    drawn = {frozenset(pair) for pair in zip(pairs.files[0::2], pairs.files[1::2], strict=True)}
    assert len(drawn) == len(pairs)
    assert pairs.issame.mean() == 0.5


def test_unreadable_images_of_held_out_people_are_told_not_paired(tmp_path: Path, config) -> None:
    folder = people(tmp_path / "faces", 20)
    for path in folder.glob("*/0.jpg"):
        path.write_bytes(b"no image")
    settings = config(folder, broken_images_tolerated=0.5, **SHARE)
    report = check_source(str(folder), settings)
    assert not report.must_not_train
    assert any("4 of their images cannot be read" in warning for warning in report.warnings)


def test_images_of_held_out_people_are_counted_and_named_like_all_others(tmp_path: Path, config) -> None:
    folder = people(tmp_path / "faces", 20)
    report = check_source(str(folder), config(folder, **SHARE))
    assert report.findings[0].result == "60 of 60 training images, 12 of them held out for verification"
    held = {name.split("/")[0] for name in held_out_files(folder, config(folder, **SHARE))}
    for person in held:
        (folder / person / "unpaired.jpg").write_bytes(b"no image")
    report = check_source(str(folder), config(folder, broken_images_tolerated=0.5, **SHARE))
    assert report.findings[0].result.startswith("60 of 64 training images")
    assert report.findings[0].verdict == "warning"
    assert {item.name for item in report.set_aside} == {f"{person}/unpaired.jpg" for person in held}


def held_out_files(folder: Path, settings) -> list[str]:
    inputs = open_inputs(settings, open_folders(settings.data, folder.parent / "scratch"))
    return [inputs.training.name(int(number)) for number in inputs.held_out]


@pytest.mark.parametrize(
    ("count", "images", "reason"), [(20, 1, "two images to pair of 0 of its 20"), (3, 3, "too few")]
)
def test_training_without_any_proof_is_refused_before_it_starts(
    tmp_path: Path, config, count: int, images: int, reason: str
) -> None:
    folder = people(tmp_path / "faces", count, images)
    report = check_source(str(folder), config(folder, **SHARE))
    assert any(reason in stop for stop in report.reasons)
    assert not check_source(str(folder), config(folder)).must_not_train, "a share of 0 says that none is wanted"


@pytest.mark.parametrize("issame", [[True] * 12, [False] * 12, [True, False, False, False]])
def test_a_set_without_both_kinds_is_refused(tmp_path: Path, config, issame: list[bool]) -> None:
    folder = people(tmp_path / "faces", 4)
    write_bin(folder / "val.bin", [encode_jpeg(face(n)) for n in range(2 * len(issame))], issame)
    report = check_source(str(folder), config(folder))
    assert any("val" in stop and "of each kind" in stop for stop in report.reasons)
    assert all(stop.endswith(".") and not stop.endswith("..") for stop in [*report.reasons, *report.warnings])


def test_a_small_set_gets_fewer_folds_and_says_so(tmp_path: Path, config) -> None:
    folder = people(tmp_path / "faces", 4)
    write_bin(folder / "val.bin", [encode_jpeg(face(n)) for n in range(10)], [True, False] * 2 + [True])
    report = check_source(str(folder), config(folder))
    assert not report.must_not_train
    assert any("val: 5 pairs" in warning and "5 folds, not 10" in warning for warning in report.warnings)
    scores, issame = np.array([0.9, 0.1, 0.8, 0.2, 0.7]), np.array([True, False] * 2 + [True])
    assert len(ten_fold_any_range(scores, issame).accuracy_by_fold) == 5
    assert len(ten_fold(2 - 2 * scores, issame).accuracy_by_fold) == 5


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        ({"batch_size": 64, "num_instances": 4}, "Lower data.batch_size"),
        ({"batch_size": 64, "num_instances": 4, "sampler": "random_identity"}, "Lower data.batch_size"),
        ({"min_images_per_identity": 3}, None),
    ],
)
def test_batches_that_cannot_be_planned_are_refused(
    tmp_path: Path, config, data: dict[str, object], remedy: str | None
) -> None:
    folder = people(tmp_path / "faces", 6)
    report = check_source(str(folder), config(folder, **data))
    assert report.must_not_train == (remedy is not None)
    assert remedy is None or remedy in " ".join(report.reasons)


def test_one_person_is_not_enough(tmp_path: Path, config) -> None:
    folder = people(tmp_path / "faces", 1)
    report = check_source(str(folder), config(folder, sampler="shuffle"))
    assert any("another person" in stop for stop in report.reasons)


def test_benchmarks_that_are_absent_are_named(tmp_path: Path, config) -> None:
    folder = people(tmp_path / "faces", 4)
    images = [encode_jpeg(face(1000 + n)) for n in range(40)]
    write_bin(folder / "lfw.bin", images, [True, False] * 10)
    assert any("agedb_30, cfp_fp, calfw, cplfw" in w for w in check_source(str(folder), config(folder)).warnings)
    (folder / "lfw.bin").rename(folder / "own.bin")
    assert not any("agedb_30" in w for w in check_source(str(folder), config(folder)).warnings)


def test_verification_sets_and_masks_may_lie_elsewhere(tmp_path: Path, config) -> None:
    folder, sets, masked = people(tmp_path / "faces", 4), tmp_path / "sets", tmp_path / "niqab"
    write_bin(sets / "own.bin", [encode_jpeg(face(1000 + n)) for n in range(40)], [True, False] * 10)
    for name in ("kept_faces", "masks"):
        (masked / name).mkdir(parents=True)
    for number in range(12):
        (masked / "kept_faces" / f"{number}.jpg").write_bytes(encode_jpeg(face(number)))
        half = np.zeros((112, 112), dtype=np.uint8)
        half[:56] = 255
        Image.fromarray(half).save(masked / "masks" / f"{number}_mask.png")
    settings = config(folder, verification_source=str(sets), visibility_source=str(masked))
    store = open_store(str(tmp_path / "store"))
    made = prepare_dataset(settings, store)
    assert made.manifest.verification == {"own": 20}
    assert made.manifest.visibility_pairs == 12
    write_bin(sets / "more.bin", [encode_jpeg(face(1000 + n)) for n in range(40)], [True, False] * 10)
    assert prepare_dataset(settings, store).fingerprint != made.fingerprint
    assert json.loads(json.dumps(made.manifest.settings))["data.held_out_share"] == 0.0
    for key in ("verification_source", "visibility_source"):
        with pytest.raises(DataError, match=f"data.{key}"):
            check_source(str(folder), config(folder, **{key: str(folder / "p00")}))
