"""Datasets by the names and forms that other tools of this field expect."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader

from oaml_core.data.prepared.five_sets import CONCATENATED, FiveValidationDataset, get_val_data
from oaml_core.data.prepared.niqab import NiqabMaskDataModule, NiqabMaskDataset
from oaml_core.errors import DataError

SIZE = 16


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    """Three of the five sets, as InsightFace packs them: grey faces whose level tells which they are."""
    for number, (name, pairs) in enumerate({"lfw": 3, "agedb_30": 2, "calfw": 4}.items()):
        faces = [
            simplejpeg.encode_jpeg(np.full((SIZE, SIZE, 3), 60 * number + 5 * k, np.uint8), quality=100)
            for k in range(2 * pairs)
        ]
        (tmp_path / f"{name}.bin").write_bytes(pickle.dumps((faces, [k % 2 == 0 for k in range(pairs)])))
    return tmp_path


def test_five_sets_become_one_dataset(benchmarks: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sets = get_val_data(benchmarks, image_size=SIZE)
    assert {name: len(issame) for name, (_, issame) in sets.items()} == {"lfw": 3, "agedb_30": 2, "calfw": 4}
    assert "lacks cfp_fp, cplfw of the five" in caplog.text
    faces = FiveValidationDataset(sets, benchmarks / CONCATENATED)
    assert len(faces) == 18
    assert faces.dataname_to_idx == {"agedb_30": 0, "cfp_fp": 1, "lfw": 2, "cplfw": 3, "calfw": 4}
    assert [faces[k][2] for k in (0, 5, 6, 9, 10, 17)] == [2, 2, 0, 0, 4, 4]
    assert [faces[k][1] for k in range(6)] == [True, True, False, False, True, True]
    image, _, _, index = faces[7]
    assert index == 7
    assert image.shape == (3, SIZE, SIZE)
    assert image.mean().item() == pytest.approx(65 / 127.5 - 1, abs=0.02)
    images, issame, dataname, numbers = next(iter(DataLoader(faces, batch_size=18)))
    assert images.dtype == torch.float32
    assert (issame.shape, dataname.shape, numbers.tolist()) == ((18,), (18,), list(range(18)))


def test_memfiles_are_made_once_and_again_where_a_set_has_changed(benchmarks: Path) -> None:
    path = benchmarks / CONCATENATED
    get_val_data(benchmarks, image_size=SIZE)
    first = path.stat().st_ino
    sets = get_val_data(benchmarks, image_size=SIZE)
    assert path.stat().st_ino == first
    brighter = {**sets, "lfw": (np.asarray(sets["lfw"][0]) + 50, sets["lfw"][1])}
    assert FiveValidationDataset(brighter, path)[0][0].mean() > -0.7
    assert FiveValidationDataset(sets, path)[0][0].mean() < -0.9
    assert get_val_data(benchmarks, image_size=8)["lfw"][0].shape[1] == 8


def test_sets_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    faces = np.zeros((4, 3, 8, 8), dtype=np.float32)
    with pytest.raises(DataError, match="lfw has 4 images for 3 pairs"):
        FiveValidationDataset({"lfw": (faces, [True, False, True])}, tmp_path / "m")
    with pytest.raises(DataError, match="one shape and dtype"):
        FiveValidationDataset({"lfw": (faces, [True, False]), "calfw": (faces[..., :4], [True, False])}, tmp_path / "m")
    with pytest.raises(DataError, match=r"none of lfw\.bin"):
        get_val_data(tmp_path)
    kept = FiveValidationDataset({"own": (faces + 0.5, [True, False])}, tmp_path / "m")
    assert kept[1][0].shape == (3, 8, 8)  # already as a network takes it
    assert kept[1][2] == 5


@pytest.fixture
def niqab(tmp_path: Path) -> Path:
    for number in range(10):
        face = np.full((120, 120, 3), 20 * number, dtype=np.uint8)
        mask = np.full((120, 120), 255, dtype=np.uint8)
        mask[60:] = 0
        for folder, picture, name in (("kept_faces", face, f"{number}.jpg"), ("masks", mask, f"{number}_mask.png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / name)
    Image.fromarray(face).save(tmp_path / "kept_faces" / "alone.jpg")
    return tmp_path


def test_a_face_comes_with_its_mask_and_its_number(niqab: Path) -> None:
    faces = NiqabMaskDataset(niqab)
    assert len(faces) == 10
    image, mask, index = faces[3]
    assert (image.shape, mask.shape, index) == ((3, 112, 112), (1, 7, 7), 3)
    assert image.mean().item() == pytest.approx(60 / 127.5 - 1, abs=0.02)
    assert mask[0, 0].tolist() == [1.0] * 7
    assert mask[0, 6].tolist() == [0.0] * 7
    assert mask[0, 3, 0].item() == pytest.approx(0.5)


def test_folders_ending_sizes_and_transform_can_be_others(niqab: Path) -> None:
    (niqab / "kept_faces").rename(niqab / "images")
    (niqab / "masks").rename(niqab / "visible")
    for file in (niqab / "visible").iterdir():
        file.rename(file.with_name(file.name.replace("_mask", "-vis")))
    faces = NiqabMaskDataset(
        root_dir=niqab,
        image_transform=lambda image: torch.tensor(image.size),
        mask_target_size=14,
        image_subdir="images",
        mask_subdir="visible",
        mask_suffix="-vis",
    )
    image, mask, _ = faces[0]
    assert image.tolist() == [120, 120]
    assert mask.shape == (1, 14, 14)
    with pytest.raises(DataError, match="11 faces in images, 10 masks in visible"):
        NiqabMaskDataset(niqab, image_subdir="images", mask_subdir="visible")


def test_the_module_holds_a_share_out(niqab: Path) -> None:
    module = NiqabMaskDataModule(root_dir=niqab, batch_size=4, val_split=0.2)
    module.setup()
    train, held_out = ([i for batch in loader for i in batch[2].tolist()] for loader in loaders(module))
    assert (len(train), len(held_out)) == (8, 2)
    assert sorted(train + held_out) == list(range(10))
    again = NiqabMaskDataModule(root_dir=niqab, batch_size=4, val_split=0.2)
    again.setup("fit")
    assert [i for batch in again.val_dataloader() for i in batch[2].tolist()] == held_out
    with pytest.raises(DataError, match="val_split is 1"):
        NiqabMaskDataModule(niqab, val_split=1)


def loaders(module: NiqabMaskDataModule):
    return module.train_dataloader(), module.val_dataloader()
