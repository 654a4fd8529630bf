"""Verification sets: read exactly, written as memfiles, refused by name when something is wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.data.prepared.memfile import open_memfile, verify_memfile
from oaml_core.data.prepared.verification import open_verification, write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import find_verification, open_verification_source
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.decoding.decode import decode_image, encode_jpeg
from oaml_core.errors import DataError
from tests.data_layer.conftest import DATA, face, flip_bit, truncate, write_bin


def only_set(folder: Path) -> VerificationSource:
    source = LocalFolder(folder)
    ((name, file),) = find_verification(source).items()
    return open_verification_source(source, name, file)


def small_lfw() -> tuple[list[bytes], list[bool]]:
    """The reference set through Python's own unpickler: it is known to be harmless."""
    with (DATA / "small_lfw.bin").open("rb") as file:
        images, issame = pickle.load(file, encoding="bytes")
    return [np.asarray(image, dtype=np.uint8).tobytes() for image in images], issame


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    folder = tmp_path / "lfw"
    folder.mkdir()
    (folder / "small_lfw.bin").write_bytes((DATA / "small_lfw.bin").read_bytes())
    return folder


def test_the_published_set_is_read_to_the_byte(lfw: Path) -> None:
    images, issame = small_lfw()
    source = only_set(lfw)
    assert source.issame.tolist() == issame
    read = [hashlib.sha256(image).hexdigest() for image in source.read_images()]
    assert read == [hashlib.sha256(image).hexdigest() for image in images]


def test_the_memfile_holds_the_decoded_pairs(lfw: Path, tmp_path: Path) -> None:
    write_verification(only_set(lfw), tmp_path / "out", image_size=112)
    made = open_verification(tmp_path / "out", "small_lfw")
    images, issame = small_lfw()
    assert made.images.shape == (20, 112, 112, 3)
    assert made.issame.tolist() == issame
    for row, encoded in zip(made.images, images, strict=True):
        np.testing.assert_array_equal(row, decode_image(encoded))
    with pytest.raises(ValueError, match="read-only"):
        made.images[0] = 0


def test_the_memfile_is_readable_by_shape_and_dtype_alone(lfw: Path, tmp_path: Path) -> None:
    """As the tools read it that use this layout already."""
    write_verification(only_set(lfw), tmp_path, image_size=112)
    conf = json.loads((tmp_path / "small_lfw.dat.conf").read_text())
    images = np.memmap(tmp_path / "small_lfw.dat", mode="r", shape=tuple(conf["shape"]), dtype=np.dtype(conf["dtype"]))
    np.testing.assert_array_equal(images[3], decode_image(small_lfw()[0][3]))
    assert np.load(tmp_path / "small_lfw_list.npy").dtype == bool


@pytest.mark.parametrize("protocol", range(6))
def test_both_forms_of_images_and_of_truth_are_read(tmp_path: Path, protocol: int) -> None:
    images, _ = small_lfw()
    arrays = [np.frombuffer(image, np.uint8) for image in images[:4]]
    for form in (images[:4], arrays):
        for truth in ([True, False], [1, 0], np.array([True, False]), [np.True_, np.False_]):
            (tmp_path / "set.bin").write_bytes(pickle.dumps((form, truth), protocol))
            source = only_set(tmp_path)
            assert source.issame.tolist() == [True, False]
            assert list(source.read_images()) == images[:4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([b"x", b"y"], "must be a list of encoded images"),
        (([b"a", b"b", b"c"], [True]), "3 images for 1 pair"),
        (([b"a", b"b"], ["yes"]), "list of booleans"),
        (([b"a", b"b"], [2]), "list of booleans"),
        (([b"a", b"b"], None), "list of booleans"),
        (([], []), "0 images for 0 pairs"),
        ("text", "no verification set"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "odd.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        only_set(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 50, 5000, 108000, 108462])
def test_a_truncated_file_is_refused_by_name(lfw: Path, size: int) -> None:
    truncate(lfw / "small_lfw.bin", size)
    with pytest.raises(DataError, match=r"small_lfw\.bin"):
        only_set(lfw)


def test_a_damaged_image_is_named_and_leaves_no_memfile(lfw: Path, tmp_path: Path) -> None:
    source = only_set(lfw)
    damaged = (lfw / "small_lfw.bin").read_bytes().index(b"\xff\xd8\xff", 20_000)  # the start of an image
    flip_bit(lfw / "small_lfw.bin", damaged + 1)
    with pytest.raises(DataError, match=r"small_lfw\.bin: image \d+ \(pair \d+\) is unusable"):
        write_verification(source, tmp_path / "out", image_size=112)
    assert not list((tmp_path / "out").iterdir())


def test_a_pair_list_over_images_is_a_set_too(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(face(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "own_pairs.csv").write_text("first,second,same\n0.png,1.png,1\n0.png,2.png,0\n")
    write_verification(only_set(tmp_path), tmp_path / "out", image_size=112)
    made = open_verification(tmp_path / "out", "own")
    assert made.issame.tolist() == [True, False]
    np.testing.assert_array_equal(made.images[3], face(2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second,same\n0.png,gone.png,1\n", r"line 2: there is no image 'gone.png'"),
        ("first,second,same\n0.png,0.png,yes\n", r"line 2: `same` is 'yes'"),
        ("a,b\n1,2\n", "columns first,second,same"),
    ],
)
def test_a_wrong_pair_list_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    Image.fromarray(face(0)).save(tmp_path / "0.png")
    (tmp_path / "own_pairs.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        only_set(tmp_path)


def test_landmarks_follow_the_images_when_they_are_resized(tmp_path: Path) -> None:
    write_bin(tmp_path / "own.bin", [encode_jpeg(face(n, side=224)) for n in range(2)], [True])
    points = [[10.0, 20.0]] * 5
    (tmp_path / "own_meta.json").write_text(json.dumps({"pairs": [["a", "b"]], "landmarks": {"a": points}}))
    write_verification(only_set(tmp_path), tmp_path / "out", image_size=112)
    made = open_verification(tmp_path / "out", "own")
    assert made.landmarks is not None
    np.testing.assert_allclose(made.landmarks[0], [[5.0, 10.0]] * 5)
    assert np.isnan(made.landmarks[1]).all()


def test_bgr_files_come_out_as_rgb(tmp_path: Path) -> None:
    write_bin(tmp_path / "own.bin", [encode_jpeg(face(n)[..., ::-1]) for n in range(2)], [True])
    write_verification(only_set(tmp_path), tmp_path / "out", image_size=112, channel_order="bgr")
    red, _, blue = open_verification(tmp_path / "out", "own").images[0].reshape(-1, 3).mean(axis=0)
    assert red > blue + 20


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write_bin(tmp_path / "lfw.bin", [b"a", b"b"], [True])
    write_bin(tmp_path / "verification" / "lfw.bin", [b"a", b"b"], [True])
    with pytest.raises(DataError, match="both called 'lfw'"):
        find_verification(LocalFolder(tmp_path))


def test_a_damaged_memfile_is_noticed(lfw: Path, tmp_path: Path) -> None:
    write_verification(only_set(lfw), tmp_path / "out", image_size=112)
    path = tmp_path / "out" / "small_lfw.dat"
    verify_memfile(path)
    flip_bit(path, 1000)
    with pytest.raises(DataError, match="does not match its checksum"):
        verify_memfile(path)
    truncate(path, 1000)
    with pytest.raises(DataError, match="has 1,000 bytes"):
        open_memfile(path)
