"""Restoring somebody's images: in pieces, folders, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from oaml_core.config.restoration import RestorationConfig
from oaml_core.errors import DataError
from oaml_core.restoration import apply
from oaml_core.restoration.prior import Prior

CONFIG = RestorationConfig(channel_mult=(1, 2, 2), noise_a=0.0, noise_b=0.01, steps=4, samples=2)


def white_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """Of tiles whose pixels are N(0, 0.25), independent."""
    return x * 0.25 / (0.25 + sigma.reshape(-1, 1, 1, 1) ** 2)


WHITE = cast(Prior, white_denoiser)


def draw(path: Path, height: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    image = np.random.default_rng(0).integers(60, 200, (height, width, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return image


def test_an_image_in_pieces_is_the_image_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = draw(tmp_path / "a.png", 45, 70)
    expected = (image / 127.5 - 1) * 0.25 / (0.25 + 0.04)
    for piece in (256, 32):
        monkeypatch.setattr(apply, "PIECE", piece)
        monkeypatch.setattr(apply, "OVERLAP", 8)
        found = apply.restore_image(WHITE, tmp_path / "a.png", tmp_path / str(piece), CONFIG)
        restored = np.asarray(Image.open(found.image)) / 127.5 - 1
        assert restored.shape == (45, 70, 3)
        assert np.abs(restored - expected).max() < 1 / 127.5
        deviation = np.asarray(Image.open(found.uncertainty)) / 255 * 0.6
        assert deviation.mean() == pytest.approx((0.25 * 0.04 / 0.29) ** 0.5, rel=0.25)


def test_covered_pixels_fall_back_to_the_prior(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 40, 40)
    mask = np.full((40, 40), 255, dtype=np.uint8)
    mask[10:30] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = apply.restore_image(WHITE, tmp_path / "a.png", tmp_path, CONFIG, mask=tmp_path / "mask.png")
    uncertainty = np.asarray(Image.open(found.uncertainty)).astype(float)
    assert uncertainty[10:30].mean() > 1.2 * uncertainty[:10].mean()


def test_folders_give_their_images_and_nothing_else(tmp_path: Path) -> None:
    draw(tmp_path / "b.png", 8, 8)
    draw(tmp_path / "a.PNG", 8, 8)
    (tmp_path / "notes.txt").write_text("no image")
    assert [path.name for path in apply.pictures_at(tmp_path)] == ["a.PNG", "b.png"]
    assert apply.pictures_at(tmp_path / "b.png") == [tmp_path / "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        apply.pictures_at(tmp_path / "empty")
    (tmp_path / "set" / "below").mkdir(parents=True)
    draw(tmp_path / "set" / "below" / "c.png", 8, 8)
    with pytest.raises(DataError, match=r"1 image lies in folders within it\. Name one of these: .*below"):
        apply.pictures_at(tmp_path / "set")


def test_an_image_that_is_smaller_than_the_network_can_halve_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 3, 40)
    with pytest.raises(DataError, match="too small"):
        apply.restore_image(WHITE, tmp_path / "a.png", tmp_path, CONFIG)


def test_pieces_cover_every_length() -> None:
    for length in (1, 200, 256, 257, 480, 481, 1000):
        starts = apply._starts(length)
        covered = torch.zeros(length)
        for start in starts:
            covered[start : start + apply.PIECE] += 1
        assert covered.min() >= 1
        assert starts[-1] == max(0, length - apply.PIECE)
