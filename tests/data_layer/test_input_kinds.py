"""Inputs as people have them are read right, or refused by name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.image_folder import ImageFolderSource
from oaml_core.data.sources.image_list import ImageListSource
from oaml_core.data.sources.inputs import open_training
from oaml_core.data.sources.leftovers import find_leftovers
from oaml_core.decoding.decode import BACKGROUND, MAX_PIXELS, decode_image, decode_mask
from oaml_core.errors import DataError, ModelInputError
from oaml_core.inference.face_files import load_face

LEVELS = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_values_keep_their_levels(kind: str) -> None:
    deep = Image.fromarray(LEVELS.astype(np.uint16) * 257)
    assert (decode_image(encoded(deep, kind))[..., 0] == LEVELS).all()
    assert (decode_mask(encoded(deep, kind)) == LEVELS).all()


def test_float_values_are_scaled_from_0_to_1_and_refused_beyond() -> None:
    share = LEVELS.astype(np.float32) / 255
    assert (decode_image(encoded(Image.fromarray(share), "TIFF"))[..., 1] == LEVELS).all()
    for wrong in (share * 2, share - 0.5, np.full_like(share, np.nan)):
        with pytest.raises(DataError, match=r"\[0, 1\]"):
            decode_image(encoded(Image.fromarray(wrong), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    scene = np.zeros((24, 16, 3), dtype=np.uint8)
    scene[:8, :8] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(scene), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    got = decode_image(data)
    assert got.shape == np.asarray(upright).shape
    assert np.abs(got.astype(int) - np.asarray(upright)).mean() < 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(mode: str) -> None:
    clear = Image.new("RGBA", (16, 16), (10, 10, 10, 0)).convert(mode)
    options = {"transparency": clear.getpixel((0, 0))} if mode == "P" else {}
    assert (decode_image(encoded(clear, "PNG", **options)) == BACKGROUND).all()


def test_cmyk_jpegs_become_rgb() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = decode_image(encoded(cyan, "JPEG")).mean(axis=(0, 1))
    assert red < 60 < 180 < min(green, blue)


@pytest.mark.parametrize("brand", [b"heic", b"avif"])
def test_formats_of_phones_are_named(brand: bytes) -> None:
    with pytest.raises(DataError, match=brand.decode().upper()):
        decode_image(b"\0\0\0\x18ftyp" + brand + b"\0" * 32)


def test_postscript_is_not_run() -> None:
    with pytest.raises(DataError, match="none of JPEG, PNG"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n")


def test_announced_sizes_are_refused_in_every_reader(tmp_path: Path) -> None:
    data = encoded(Image.new("1", (10_001, MAX_PIXELS // 10_000)), "PNG")
    with pytest.raises(DataError, match="too many"):
        decode_image(data)
    (tmp_path / "big.png").write_bytes(data)
    with pytest.raises(ModelInputError, match=r"big\.png.*too many"):
        load_face(tmp_path / "big.png")


def face_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    Image.fromarray(LEVELS).save(folder / "0.png")
    return folder


def test_links_are_followed_once_and_dangling_ones_told(tmp_path: Path) -> None:
    face_folder(tmp_path / "pool" / "berta")
    anna = face_folder(tmp_path / "set" / "anna")
    (tmp_path / "set" / "berta").symlink_to(tmp_path / "pool" / "berta")
    (anna / "round").symlink_to(tmp_path / "set")
    (anna / "gone.png").symlink_to(tmp_path / "nowhere.png")
    folder = LocalFolder(tmp_path / "set")
    source = ImageFolderSource(folder)
    assert source.names == ["anna/0.png", "berta/0.png"]
    told = " ".join(find_leftovers(folder, source, (), (), None).warnings)
    assert "anna/round" in told
    assert "anna/gone.png" in told


@pytest.mark.parametrize("below", ["", "train"])
def test_a_folder_under_two_names_is_one_person(tmp_path: Path, below: str) -> None:
    people = tmp_path / "set" / below
    for person in ("anna", "carla"):
        face_folder(people / person)
    face_folder(tmp_path / "pool" / "berta")
    (people / "Anna").symlink_to(people / "anna")
    for name in ("b1", "b2", "b3"):
        (people / name).symlink_to(tmp_path / "pool" / "berta")
    folder = LocalFolder(tmp_path / "set")
    source = ImageFolderSource(folder)
    assert source.identities.tolist() == ["anna", "b1", "carla"]
    note = next(note for note in source.notes if "another name" in note)
    assert note.startswith("3 links lead to folders")
    assert "'Anna' is 'anna', 'b2' is 'b1', 'b3' is 'b1'" in note
    assert not find_leftovers(folder, source, (), (), None).warnings


def test_links_to_folders_of_their_own_are_people_each(tmp_path: Path) -> None:
    for person in ("anna", "berta"):
        face_folder(tmp_path / "pool" / person)
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / person).symlink_to(tmp_path / "pool" / person)
    source = ImageFolderSource(LocalFolder(tmp_path / "set"))
    assert source.identities.tolist() == ["anna", "berta"]
    assert not source.notes


def test_files_passed_over_and_identities_lost_by_it_are_told(tmp_path: Path) -> None:
    face_folder(tmp_path / "anna")
    (tmp_path / "berta").mkdir()
    (tmp_path / "berta" / "0.heic").write_bytes(b"x")
    notes = " ".join(ImageFolderSource(LocalFolder(tmp_path)).notes)
    assert ".heic" in notes
    assert "left out" in notes
    assert "berta" in notes


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_of_spreadsheets_are_read(tmp_path: Path, separator: str, encoding: str) -> None:
    rows = [("path", "identity"), ("a/0.jpg", "Zoë"), ("b/0.jpg", "")]
    (tmp_path / "train.csv").write_text("\n".join(map(separator.join, rows)), encoding=encoding)
    source = ImageListSource(LocalFolder(tmp_path))
    assert source.identities.tolist() == ["Zoë"]
    assert source.damaged[0][0] == "b/0.jpg (line 3)"


def test_lists_of_unknown_encoding_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,identity\na/0.jpg,Zoë\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"train\.csv.*UTF-8"):
        ImageListSource(LocalFolder(tmp_path))


def test_links_that_were_copied_as_text_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    face_folder(folder / "anna")
    (folder / "ben").write_text("../pool/ben")
    (folder / "README").write_text("two lines\nof a/b text")
    notes = ImageFolderSource(LocalFolder(folder)).notes
    assert [note for note in notes if "'ben'" in note and "link" in note]
    assert not [note for note in notes if "README" in note]


def test_celebas_list_names_the_images_of_the_only_folder(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(LEVELS).save(face_place(tmp_path, f"img_align_celeba/{number}.png"))
    (tmp_path / "identity_CelebA.txt").write_text("0.png 2880\n1.png 2937\n2.png 2880\n")
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert source.labels.tolist() == [0, 1, 0]
    assert [source.name(number) for number in range(3)] == [f"img_align_celeba/{number}.png" for number in range(3)]
    assert source.read(1).startswith(b"\x89PNG")


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("label", ["7", "77", "777", "7777"])
def test_a_list_of_one_line_is_a_list(tmp_path: Path, label: str, end: str) -> None:
    Image.fromarray(LEVELS).save(face_place(tmp_path, "0.png"))
    (tmp_path / "train.lst").write_text(f"0\t{label}\t0.png{end}")
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert source.identity_name(0) == label


def test_images_in_one_folder_are_told_with_the_list_beside_them(tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray(LEVELS).save(face_place(tmp_path, f"images/{number}.png"))
    (tmp_path / "people.lst").write_text("1\timages/0.png\t4\n")
    notes = " ".join(ImageFolderSource(LocalFolder(tmp_path)).notes)
    assert "'images', and so are of one person" in notes
    assert "(people.lst) train.txt" in notes


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("0.png", "1 image lies in no folder of a person: move each"),
        ("faces.h5", "Containers of other tools are not read"),
        ("faces.zip.001", "Containers of other tools are not read"),
        ("anna/0", "Images are known by their endings"),
    ],
)
def test_a_source_without_people_says_what_to_do_with_its_files(tmp_path: Path, name: str, told: str) -> None:
    Image.fromarray(LEVELS).save(face_place(tmp_path, name), "PNG")
    with pytest.raises(DataError, match=told):
        ImageFolderSource(LocalFolder(tmp_path))


def face_place(folder: Path, name: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name
