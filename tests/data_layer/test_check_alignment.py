"""Photographs that nobody has aligned are told from aligned faces, and from images without faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from oaml_core.data.check.checks import check_source
from oaml_core.photos.faces import FaceFinder
from tests.data_layer.conftest import finding


def portraits(folder: Path, crop: tuple[int, int, int, int]) -> Path:
    """12 photographs of one woman, her face where `crop` puts it, as 4 identities."""
    photo = Image.fromarray(skimage.data.astronaut()).crop(crop)
    for number in range(12):
        path = folder / f"person{number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.asarray(photo).copy()
        picture[0, 0] = number
        Image.fromarray(picture).save(path)
    return folder


def test_square_photographs_that_are_not_aligned_are_named_with_the_remedy(tmp_path: Path, config) -> None:
    report = check_source(str(portraits(tmp_path, (60, 0, 460, 400))), config())
    said = finding(report, "alignment")
    assert said.startswith("warning: faces seen in 12 of 12 images")
    assert "oaml align" in said


def test_aligned_faces_pass_the_alignment_check(tmp_path: Path, config) -> None:
    source = tmp_path / "source.png"
    Image.fromarray(skimage.data.astronaut()).save(source)
    aligned = FaceFinder().main_face(source).image
    for number in range(4):
        path = tmp_path / "faces" / f"person{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(aligned, number % 2, axis=1)).save(path)
    said = finding(check_source(str(tmp_path / "faces"), config()), "alignment")
    assert said.startswith("ok: faces seen in 4 of 4 images")


def test_photographs_that_are_not_square_are_no_broken_images(tmp_path: Path, config) -> None:
    report = check_source(str(portraits(tmp_path, (60, 0, 460, 300))), config())
    assert report.must_not_train
    assert report.set_aside[0].reason.startswith("400×300 pixels is not square")
    said = finding(report, "readable")
    assert "12 are not square" in said
    assert "oaml align" in said


def test_images_without_faces_are_not_judged_for_alignment(image_folder: Path, config) -> None:
    assert finding(check_source(str(image_folder), config()), "alignment").startswith("ok: faces seen in")
