"""What the checks find, what they let pass, and when they stop training."""

from __future__ import annotations

import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from oaml_core.data.check.checks import check_source
from oaml_core.decoding.decode import encode_jpeg
from tests.data_layer.conftest import DATA, face, finding, truncate, write_bin


def add_verification(folder: Path, numbers: list[int]) -> None:
    images = [encode_jpeg(face(number)) for number in numbers]
    write_bin(folder / "own.bin", images, [True, False] * (len(images) // 4))


def test_a_good_folder_passes(image_folder: Path, config) -> None:
    add_verification(image_folder, list(range(100, 120)))
    report = check_source(str(image_folder), config())
    assert not report.must_not_train
    assert report.warnings == []
    assert report.set_aside == []
    assert finding(report, "readable") == "ok: 12 of 12 training images. "
    assert finding(report, "labels") == "ok: 3 identities, contiguous from 0. "


def test_a_truncated_image_is_listed_and_stops_training(image_folder: Path, config) -> None:
    truncate(image_folder / "person1" / "2.jpg", 700)
    report = check_source(str(image_folder), config())
    assert report.must_not_train
    assert [item.name for item in report.set_aside] == ["person1/2.jpg"]
    assert "JPEG" in report.set_aside[0].reason
    assert "data.broken_images_tolerated" in report.reasons[0]
    table = report.table()
    assert "person1/2.jpg" in table
    assert table.splitlines()[-1].startswith("training must not start: mend what stops it (readable")


def stop(source: Path, config) -> str:
    report = check_source(str(source), config())
    return next(line.remedy for line in report.findings if line.check == "readable" and line.verdict == "stop")


def as_csv(folder: Path, more: list[str]) -> None:
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.jpg"))
    lines = ["path,identity", *(f"{path},{path.parts[0]}" for path in paths), *more]
    (folder / "train.csv").write_text("\n".join(lines))


def test_the_remedy_is_that_of_what_is_at_fault(image_folder: Path, config) -> None:
    as_csv(image_folder, ["person0/1.jpg,", "person9/1.jpg,"])
    lines = "mend or remove the lines of train.csv that are set aside"
    assert f": {lines}, or raise data" in stop(image_folder, config)
    as_csv(image_folder, ["person0/17.jpg,person0"])
    absent = "copy what is missing (1 image is listed and not there), or remove the lines"
    assert f": {absent}, or raise data" in stop(image_folder, config)
    truncate(image_folder / "person1" / "2.jpg", 700)
    as_csv(image_folder, ["person0/17.jpg,person0", "person0/1.jpg,"])
    assert f": {lines}, {absent}, copy the source again, or raise data" in stop(image_folder, config)


def test_files_of_other_formats_and_photographs_have_remedies_of_their_own(image_folder: Path, config) -> None:
    (image_folder / "person0" / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(32))
    (image_folder / "person0" / "page.jpg").write_bytes(b"<!DOCTYPE html><html>")
    save = "save images of other formats as JPEG or PNG and remove what is no image (2)"
    assert f": {save}, or raise data" in stop(image_folder, config)
    Image.new("RGB", (150, 112), (200, 100, 50)).save(image_folder / "person1" / "wide.jpg")
    align = "align photographs by `oaml align FOLDER OUT` or data.align true (1 not square)"
    assert f": {save}, {align}, or raise data" in stop(image_folder, config)


def test_rows_of_parquet_without_identity_ask_for_one(tmp_path: Path, config) -> None:
    images = [{"bytes": encode_jpeg(face(number)), "path": None} for number in range(12)]
    labels = [number // 3 for number in range(9)] + [-1, None, None]
    table = pyarrow.table({"image": images, "label": pyarrow.array(labels)})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    assert "give the rows that are set aside an identity" in stop(tmp_path, config)
    assert "copy the source again" not in stop(tmp_path, config)


def test_tables_that_name_images_in_place_of_holding_them_ask_for_the_images(tmp_path: Path, config) -> None:
    rows = [{"bytes": None, "path": f"/data/{number}.jpg"} for number in range(12)]
    table = pyarrow.table({"image": rows, "label": [number // 3 for number in range(12)]})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    assert "write the tables again with the images in them" in stop(tmp_path, config)
    assert "copy the source again" not in stop(tmp_path, config)
    reasons = {item.reason for item in check_source(str(tmp_path), config()).set_aside}
    assert "the row holds no image bytes, only the path /data/0.jpg" in reasons


def test_nobody_is_advised_to_leave_everybody_out(image_folder: Path, config) -> None:
    report = check_source(str(image_folder), config(num_instances=8, batch_size=16))
    said = finding(report, "images per identity")
    assert "3 identities have fewer than data.num_instances 8: a batch repeats" in said
    assert "leaves them out" not in said


def test_a_link_to_a_folder_above_loses_nobody(image_folder: Path, config) -> None:
    (image_folder / "all").symlink_to(image_folder)
    warnings = " ".join(check_source(str(image_folder), config()).warnings)
    assert "links to a folder above them" in warnings
    assert "identities lost" not in warnings


def test_a_tolerated_share_of_broken_images_does_not_stop(image_folder: Path, config) -> None:
    truncate(image_folder / "person1" / "2.jpg", 700)
    report = check_source(str(image_folder), config(broken_images_tolerated=0.1))
    assert not report.must_not_train
    assert len(report.set_aside) == 1


def test_damaged_records_are_listed_by_number(recordio: Path, config) -> None:
    truncate(recordio / "train.rec", 10_000)
    report = check_source(str(recordio), config())
    assert report.must_not_train
    assert "record 3" in [item.name for item in report.set_aside]


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits_crash_nothing_and_no_image_is_lost_silently(recordio: Path, config, seed: int) -> None:
    path = recordio / "train.rec"
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(seed).integers(0, len(data), 50):
        data[place] ^= 16
    path.write_bytes(bytes(data))
    report = check_source(str(recordio), config())
    looked_at = int(finding(report, "readable").split(" of ")[1].split()[0])
    assert looked_at == 60 + sum(
        item.name == "record 0" or int(item.name.split()[-1]) > 60 for item in report.set_aside
    )
    assert report.set_aside


def test_damage_outside_a_subset_does_not_count(recordio: Path, tmp_path: Path, config) -> None:
    truncate(recordio / "train.rec", 10_000)
    (tmp_path / "subset").write_text("1\n2\n")
    report = check_source(str(recordio), config(subset=str(tmp_path / "subset")))
    assert report.set_aside == []
    assert not [reason for reason in report.reasons if "broken" in reason]


def test_an_unusable_verification_set_stops_training(image_folder: Path, config) -> None:
    (image_folder / "lfw.bin").write_bytes((DATA / "small_lfw.bin").read_bytes()[:-5000])
    report = check_source(str(image_folder), config())
    assert report.must_not_train
    assert "lfw.bin" in report.reasons[0]


@pytest.mark.parametrize("kind", ["bin", "list"])
def test_a_broken_image_of_a_verification_set_is_named_by_its_number(image_folder: Path, config, kind: str) -> None:
    whole = (image_folder / "person1" / "0.jpg").read_bytes()
    if kind == "bin":
        images = [whole, whole, whole, whole[:90]]
        (image_folder / "own.bin").write_bytes(pickle.dumps((images, [True, False])))
        named = r"own\.bin: image 3 \(pair 1\) is unusable"
    else:
        (image_folder / "verification").mkdir()
        for name, data in (("a", whole), ("b", whole[:90])):
            (image_folder / "verification" / f"{name}.jpg").write_bytes(data)
        (image_folder / "verification" / "own_pairs.csv").write_text("first,second,same\na.jpg,b.jpg,1\n")
        named = r"own_pairs\.csv: image 1 \(verification/b\.jpg\) \(pair 0\) is unusable"
    reasons = " ".join(check_source(str(image_folder), config(image_folder)).reasons)
    assert re.search(named, reasons), reasons


def test_equal_files_in_training_and_verification_are_found(image_folder: Path, config) -> None:
    add_verification(image_folder, [100, 11, *range(101, 119)])
    report = check_source(str(image_folder), config())
    assert [(d.image, d.other, d.distance) for d in report.duplicates] == [("person1/1.jpg", "own image 1", None)]
    assert not report.must_not_train


def test_recompressed_resized_and_brightened_copies_are_found(image_folder: Path, config) -> None:
    add_verification(image_folder, list(range(100, 140)))
    small = Image.fromarray(face(103)).resize((90, 90), Image.Resampling.BICUBIC).resize((112, 112))
    brighter = (face(104).astype(float) * 1.1).clip(0, 255).astype(np.uint8)
    for name, image in (("a", face(102)), ("b", np.asarray(small)), ("c", brighter)):
        (image_folder / "person0" / f"{name}.jpg").write_bytes(encode_jpeg(image, quality=60))
    found = {(d.image, d.other) for d in check_source(str(image_folder), config()).duplicates}
    assert found == {(f"person0/{name}.jpg", f"own image {n}") for name, n in (("a", 2), ("b", 3), ("c", 4))}


def test_one_file_under_two_identities_is_found(image_folder: Path, config) -> None:
    (image_folder / "person2" / "again.jpg").write_bytes((image_folder / "person0" / "1.jpg").read_bytes())
    report = check_source(str(image_folder), config())
    told = finding(report, "training twice")
    assert told.startswith("warning: 1 file occurs again, 1 under another identity")


def test_swapped_channels_are_hinted_at(image_folder: Path, config) -> None:
    report = check_source(str(image_folder), config(channel_order="bgr"))
    assert "set data.channel_order rgb" in finding(report, "channel order")


def test_identities_with_few_images_are_counted(image_folder: Path, config) -> None:
    report = check_source(str(image_folder), config(num_instances=4))
    assert "1 identity has fewer than data.num_instances 4" in finding(report, "images per identity")


def test_blank_images_and_other_sizes_are_pointed_out(image_folder: Path, config) -> None:
    (image_folder / "person0" / "blank.jpg").write_bytes(encode_jpeg(np.full((112, 112, 3), 90, np.uint8)))
    (image_folder / "person0" / "large.jpg").write_bytes(encode_jpeg(face(50, side=160)))
    report = check_source(str(image_folder), config())
    assert "person0/blank.jpg" in finding(report, "value range")
    assert "1 of 160×160" in finding(report, "dtype, shape")


def test_images_that_are_not_square_are_set_aside(image_folder: Path, config) -> None:
    (image_folder / "person0" / "wide.jpg").write_bytes(encode_jpeg(face(1)[:100]))
    report = check_source(str(image_folder), config())
    assert [item.name for item in report.set_aside] == ["person0/wide.jpg"]
    assert "not square" in report.set_aside[0].reason


def add_masks(folder: Path, names: list[str], visible: float) -> None:
    for name in names:
        (folder / "kept_faces").mkdir(exist_ok=True)
        (folder / "masks").mkdir(exist_ok=True)
        (folder / "kept_faces" / f"{name}.jpg").write_bytes(encode_jpeg(face(70)))
        mask = np.zeros((112, 112), np.uint8)
        mask[: int(112 * visible)] = 255
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        (folder / "masks" / f"{name}_mask.png").write_bytes(buffer.getvalue())


def test_masks_are_matched_measured_and_listed_where_alone(image_folder: Path, config) -> None:
    add_masks(image_folder, ["a", "b", "c"], visible=0.75)
    (image_folder / "masks" / "b_mask.png").unlink()
    (image_folder / "kept_faces" / "c.jpg").unlink()
    report = check_source(str(image_folder), config())
    assert report.mask_coverage == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    warnings = " ".join(report.warnings)
    assert "1 face without a mask: kept_faces/b.jpg" in warnings
    assert "1 mask without a face: masks/c_mask.png" in warnings


def test_inverted_masks_are_pointed_out(image_folder: Path, config) -> None:
    add_masks(image_folder, ["a", "b"], visible=0.05)
    assert "255 must mean visible" in finding(check_source(str(image_folder), config()), "mask coverage")


def test_a_mask_of_another_size_is_set_aside(image_folder: Path, config) -> None:
    add_masks(image_folder, ["a", "b"], visible=0.5)
    Image.fromarray(np.full((50, 50), 255, np.uint8)).save(image_folder / "masks" / "a_mask.png")
    report = check_source(str(image_folder), config())
    assert report.must_not_train
    assert [item.name for item in report.set_aside] == ["a"]


def test_the_json_says_what_the_table_says(image_folder: Path, config) -> None:
    truncate(image_folder / "person1" / "2.jpg", 700)
    content = json.loads(check_source(str(image_folder), config()).to_json())
    assert content["must_not_train"] is True
    assert content["set_aside"][0]["name"] == "person1/2.jpg"
    assert {"check", "result", "verdict", "remedy"} <= set(content["findings"][0])


def test_drawn_faces_pass(config) -> None:
    drawn = config(synthetic_identities=4, synthetic_images_per_identity=3, synthetic_pairs=20)
    report = check_source(None, drawn)
    assert not report.must_not_train
    assert report.duplicates == []
