"""Images that are the same file under two people or twice under one, as `oaml check` tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from oaml_core.data.check.checks import check_source


def told(folder: Path, config) -> str:
    report = check_source(str(folder), config(folder))
    return next(one.result + one.remedy for one in report.findings if one.check == "training twice")


def copy_of(new: Path, old: Path) -> None:
    new.write_bytes(old.read_bytes())


@pytest.mark.parametrize("make_same", [copy_of, Path.hardlink_to, Path.symlink_to])
def test_people_who_share_images_are_named(image_folder: Path, config, make_same) -> None:
    for number in range(3):
        one, other = (image_folder / person / f"{number}.jpg" for person in ("person0", "person1"))
        one.unlink()
        make_same(one, other)
    said = told(image_folder, config)
    assert "3 under another identity" in said
    assert "'person0' and 'person1' share 3 (of 3 and 4)" in said


def test_copies_of_one_person_are_no_image_of_two(image_folder: Path, config) -> None:
    copy_of(image_folder / "person0" / "copy.jpg", image_folder / "person0" / "0.jpg")
    said = told(image_folder, config)
    assert "1 file occurs again, 0 under another identity" in said
    assert "person0" not in said
