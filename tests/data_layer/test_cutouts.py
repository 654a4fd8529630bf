"""Cut-outs of a user's folder: who is held out, where they are worn, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from oaml_core.cli import main
from oaml_core.config import AugmentConfig, Config, DataConfig, EvaluateConfig
from oaml_core.data.augment.camera import Camera
from oaml_core.data.augment.cutouts import open_cutouts, split_of
from oaml_core.data.augment.occlusion import TEMPLATE, draw_occluder, lay_cutout
from oaml_core.data.augment.occlusion_transforms import FaceOcclusion
from oaml_core.data.augment.pair_transform import FaceTensors
from oaml_core.data.augment.transforms import TrainTransform
from oaml_core.errors import ConfigError, DataError
from oaml_core.evaluation.covered.cover import covers
from oaml_core.evaluation.scoring.conditions import conditions_of, draw_test_occluder

GREY = torch.full((3, 112, 112), 128, dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cutout(colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGBA", (60, 24))
    ImageDraw.Draw(picture).ellipse((2, 2, 50, 20), fill=(*colour, 255))
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty cut-outs, told apart by their hue: red or green falls where blue rises."""
    root = tmp_path_factory.mktemp("occluders")
    for kind, red in (("glasses", True), ("mask", False)):
        (root / kind).mkdir()
        for number in range(30):
            level = 8 * number
            cutout((240 - level, 0, level) if red else (0, 240 - level, level)).save(root / kind / f"{number}.png")
    return root


def hue_of(image: torch.Tensor, mask: torch.Tensor) -> int:
    """Number of the cut-out in an image, from the share of blue where it covers all; -1: it is not to be seen."""
    inside = image[:, mask[0] == 0].float().mean(1)
    return round(float(inside[2] / inside.sum()) * 30)


def numbers(folder: Path, kind: str, split: str) -> set[int]:
    return {int(path.stem) for path in open_cutouts(folder).of(kind, split)}  # type: ignore[arg-type]


def test_training_and_tests_never_share_a_picture(folder: Path) -> None:
    config = AugmentConfig(flip_prob=0, mask_prob=1, occluders=(), combination_share=0)
    training = TrainTransform(config, cutouts=open_cutouts(folder))
    black = torch.zeros_like(GREY)
    trained, tested = set(), set()
    for seed in range(400):
        image, mask = training(black, TEMPLATE, seed)
        trained.add((bool(image[0].max() > image[1].max()), hue_of(image, mask)))
        image, mask = draw_test_occluder(black, None, "cutout:glasses", seed, folder=folder)
        tested.add(hue_of(image, mask))
    held_out = numbers(folder, "glasses", "test")
    assert tested == held_out
    assert {number for _, number in trained} - held_out - numbers(folder, "mask", "test")
    assert len(trained) > 30, "all of the others are used"
    assert not numbers(folder, "glasses", "train") & held_out
    assert 3 <= len(held_out) <= 16


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
@pytest.mark.parametrize("change", ["name", "mirrored", "trimmed", "padded", "colours below transparency"])
def test_the_same_picture_is_on_one_side_whatever_its_file_is(tmp_path: Path, change: str, ending: str) -> None:
    for number in range(12):
        picture = cutout((20 * number, 90, 200 - 10 * number))
        changed = picture.copy()
        if change == "mirrored":
            changed = ImageOps.mirror(picture)
        elif change == "trimmed":
            changed = picture.crop(picture.getbbox())
        elif change == "padded":
            changed = ImageOps.expand(picture, 9, (0, 0, 0, 0))
        elif change == "colours below transparency":
            pixels = np.array(picture)
            pixels[pixels[..., 3] == 0] = (9, 8, 7, 0)
            changed = Image.fromarray(pixels)
        path = tmp_path / f"copy {number}.{ending}"
        changed.save(path, lossless=True)
        with Image.open(path) as read:
            assert split_of(read.convert("RGBA")) == split_of(picture)


def test_the_kind_of_the_folder_does_not_move_a_picture(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "glasses", tmp_path / "object")
    assert {p.stem for p in open_cutouts(tmp_path).of("object", "test")} == {
        p.stem for p in open_cutouts(folder).of("glasses", "test")
    }


@pytest.mark.parametrize(
    ("kind", "hidden", "seen"),
    [
        ("glasses", TEMPLATE[:2], TEMPLATE[3:]),
        ("mask", TEMPLATE[3:], TEMPLATE[:2]),
        ("scarf", TEMPLATE[3:] + np.array([0, 12]), TEMPLATE[:2]),
        ("hat", np.array([[56.0, 10]]), TEMPLATE[2:]),
    ],
)
def test_cutouts_are_worn_where_the_face_is(tmp_path: Path, kind: str, hidden: np.ndarray, seen: np.ndarray) -> None:
    path = tmp_path / "thing.png"
    Image.new("RGBA", (60, 24), (10, 200, 30, 255)).save(path)
    for seed in range(8):
        # A face turned in the picture takes the cut-out along.
        for turn in (0.0, 0.3):
            matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            centre = np.array([56, 60])
            points, covered, free = ((part - centre) @ matrix.T + centre for part in (TEMPLATE, hidden, seen))
            _, visible = lay_cutout(GREY, points.astype(np.float32), kind, path, generator(seed), 0.0)
            for x, y in covered.round().astype(int):
                assert visible[0, y, x] < 0.1, (seed, turn)
            for x, y in free.round().astype(int):
                assert visible[0, y, x] > 0.9, (seed, turn)


def test_share_and_absence_of_cutouts(folder: Path) -> None:
    cutouts = open_cutouts(folder)
    for share, expected in ((0.0, 0.0), (0.25, 0.25), (1.0, 1.0)):
        config = AugmentConfig(
            flip_prob=0, mask_prob=1, occluders=("blocks",), cutout_share=share, combination_share=0, camera_prob=0
        )
        transform = TrainTransform(config, cutouts=cutouts)
        # Blocks end at whole pixels, so nothing of them is half visible.
        soft = [bool(((m > 0) & (m < 1)).any()) for _, m in (transform(GREY, TEMPLATE, seed) for seed in range(200))]
        assert np.mean(soft) == pytest.approx(expected, abs=0.1)


def test_two_occluders_take_two_parts_of_the_face(folder: Path) -> None:
    kinds = ("sunglasses", "surgical", "cutout:mask")
    both = FaceOcclusion(kinds, p=1, generator=generator(), cutouts=open_cutouts(folder), combination_share=1)
    both.cutout_share = 0
    for _ in range(20):
        visible = both.of_face(FaceTensors(GREY, torch.ones(1, 112, 112), torch.from_numpy(TEMPLATE))).mask[0]
        eyes, mouth = (visible[int(y) - 6 : int(y) + 7, 36:76].mean() for y in (TEMPLATE[0, 1], TEMPLATE[3, 1]))
        assert eyes < 0.75
        assert mouth < 0.5


def test_a_shadow_darkens_what_stays_visible_and_nothing_else_does() -> None:
    for seed in range(6):
        plain, mask = draw_occluder(GREY, None, "surgical", generator(seed), natural=True, shadow_prob=0)
        assert (plain[:, mask[0] == 1] == 128).all()
        shaded, same = draw_occluder(GREY, None, "surgical", generator(seed), natural=True, shadow_prob=1)
        assert torch.equal(mask, same)
        beside = shaded[:, mask[0] == 1]
        assert beside.max() <= 128
        assert (beside < 124).any()


def test_a_users_own_picture_of_a_mask_throws_no_shadow(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cutout((250, 0, 250)).save(path)
    config = AugmentConfig(flip_prob=0, mask_prob=1, shadow_prob=1, occluders=(), mask_images=(str(path),))
    image, mask = TrainTransform(config)(GREY, TEMPLATE, 0)
    assert (mask < 1).any()
    assert (image[:, mask[0] == 1] == 128).all()


def test_a_camera_changes_pixels_and_not_visibility() -> None:
    image = torch.randint(0, 256, GREY.shape, generator=generator(), dtype=torch.uint8)
    mask = torch.rand(1, 112, 112, generator=generator())
    for seed in range(5):
        face = Camera(1.0, generator(seed)).of_face(FaceTensors(image, mask, None))
        assert face.image.shape == image.shape
        assert not torch.equal(face.image, image)
        assert torch.equal(face.mask, mask)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "no sub-folders"),
        (lambda f: (f / "mask").mkdir(), "no pictures"),
        (lambda f: save(f / "mask" / "a.png", Image.new("RGB", (9, 9))), r"a\.png has no transparency"),
        (lambda f: save(f / "hat" / "b.jpg", Image.new("RGB", (9, 9))), r"b\.jpg has no transparency"),
        (lambda f: save(f / "mask" / "c.png", Image.new("RGBA", (9, 9))), r"all of .*c\.png is transparent"),
        (lambda f: write(f / "mask" / "d.png", b"no picture"), r"d\.png cannot be read"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, make, message: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        open_cutouts(tmp_path)


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir()
    picture.save(path)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)


def test_kinds_that_a_folder_lacks_are_named_before_anything_is_trained(folder: Path, tmp_path: Path) -> None:
    cutouts = open_cutouts(folder)
    with pytest.raises(DataError, match=r"'glases'.*Did you mean 'glasses'"):
        TrainTransform(AugmentConfig(occluders=("cutout:glases",)), cutouts=cutouts)
    with pytest.raises(DataError, match="no cut-outs of kind 'scarf'"):
        conditions_of(("surgical+cutout:scarf",), folder=folder)
    one = next(p for p in sorted((folder / "mask").iterdir()) if p in cutouts.of("mask", "train"))
    (tmp_path / "mask").mkdir()
    shutil.copy(one, tmp_path / "mask")
    with pytest.raises(DataError, match="is for testing"):
        conditions_of(("cutout:mask",), folder=tmp_path)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"augment": AugmentConfig(occluders=("surgica",))}, "Did you mean 'surgical'"),
        ({"augment": AugmentConfig(occluders=("mask+sunglases",))}, "Did you mean 'sunglasses'"),
        ({"evaluate": EvaluateConfig(occluders=("cutout:mask",))}, "evaluate.occluders .* Set it"),
        ({"augment": AugmentConfig(occluders=("cutout:",))}, "no occluder"),
        ({"data": DataConfig(occluders="s3://bucket/cutouts")}, "data.occluders"),
        ({"augment": AugmentConfig(cutout_share=1.5)}, "augment.cutout_share"),
        ({"augment": AugmentConfig(shadow_prob=-1)}, "augment.shadow_prob"),
    ],
)
def test_wrong_names_and_values_are_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**sections)


def test_a_benchmark_of_models_that_saw_cutouts_takes_held_out_ones(folder: Path) -> None:
    every = {cover.kind: {p.stem for p in cover.cutouts} for cover in covers((), folder)}
    held_out = {cover.kind: {p.stem for p in cover.cutouts} for cover in covers((), folder, held_out=True)}
    assert {kind: len(files) for kind, files in every.items()} == {"glasses": 30, "mask": 30}
    assert held_out == {kind: {str(n) for n in numbers(folder, kind, "test")} for kind in every}


def test_the_preview_has_a_row_per_occluder(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    with pytest.raises(SystemExit) as ended:
        main(["occluders", "preview", "--folder", str(folder), "--count", "1", "--out", str(sheet)])
    assert ended.value.code == 0
    rows = np.asarray(Image.open(sheet))[20:].reshape(-1, 114, 150 + 2 * 114, 3)
    assert len(rows) >= 14 + 3
    pictures = rows[:, :112, 150 : 150 + 112].reshape(len(rows), -1)
    assert len(np.unique(pictures, axis=0)) == len(rows), "no two rows show the same"
