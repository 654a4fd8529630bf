"""Restoring somebody's images: in pieces, folders, and what is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from oaml_core.cli import main
from oaml_core.config import Config
from oaml_core.config.restoration import RestorationConfig
from oaml_core.errors import ConfigError, DataError
from oaml_core.restoration import apply
from oaml_core.restoration.prior import Prior

CONFIG = RestorationConfig(channel_mult=(1, 2, 2), noise_a=0.0, noise_b=0.01, steps=4, samples=2)


def white_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """Of tiles whose pixels are N(0, 0.25), independent."""
    return x * 0.25 / (0.25 + sigma.reshape(-1, 1, 1, 1) ** 2)


WHITE = cast(Prior, white_denoiser)


def draw(path: Path, height: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    path.parent.mkdir(parents=True, exist_ok=True)
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


def test_results_of_images_that_differ_by_their_ending_do_not_meet(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "B.png", "b_restored.png", "c_restored.png"):
        draw(tmp_path / name, 8, 8)
    draw(tmp_path / "B_uncertainty.png", 8, 8)
    found = apply.names_of_results(apply.pictures_at(tmp_path))
    assert {path.name: name for path, name in found.items()} == {
        "B.png": "B",
        "a.bmp": "a.bmp",
        "a.png": "a.png",
        "b_restored.png": "b_restored",
        "c_restored.png": "c_restored",
    }
    written = [apply.restore_image(WHITE, path, tmp_path / "out", CONFIG, name=name) for path, name in found.items()]
    assert len({one.image for one in written}) == len(found)


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "a.png", 8, 8)

    def full(image: Image.Image, file: Path, **_: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        apply.restore_image(WHITE, tmp_path / "a.png", tmp_path / "out", CONFIG)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("low_resolution", "blur"), [(0, 0.0), (-2, 0.0), (1, -1.0)])
def test_what_no_camera_does_is_refused(low_resolution: int, blur: float) -> None:
    with pytest.raises(ConfigError, match="at least 1 and 0"):
        apply.build_operator(low_resolution, blur)


def test_a_mask_of_another_size_names_the_image_and_the_remedy(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 10, 12)
    Image.new("L", (5, 4)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"5 × 4 pixels, and .*a\.png 12 × 10\. Give a mask of the image's size"):
        apply.restore_image(WHITE, tmp_path / "a.png", tmp_path, CONFIG, mask=tmp_path / "mask.png")


def test_noise_that_cannot_be_estimated_is_told_of_the_image_with_the_keys(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (255, 255, 255)).save(tmp_path / "white.png")
    unknown = replace(CONFIG, noise_a=None, noise_b=None)
    told = r"white\.png: Too few .* of the flattest 0 are neither .* Give restoration\.noise_a and restoration\.noise_b"
    with pytest.raises(DataError, match=told):
        apply.restore_image(WHITE, tmp_path / "white.png", tmp_path, unknown)


def test_an_image_of_a_folder_that_cannot_be_restored_is_set_aside(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    draw(tmp_path / "photos" / "c.png", 8, 8)
    (tmp_path / "photos" / "b.png").write_bytes(b"no image")
    (tmp_path / "prior.ckpt").touch()
    settings = SimpleNamespace(restoration=CONFIG)
    monkeypatch.setattr(
        "oaml_core.restoration.prior.load_prior", lambda *_: SimpleNamespace(prior=WHITE, config=settings)
    )
    words = ["restore", "apply", str(tmp_path / "photos"), "--checkpoint", str(tmp_path / "prior.ckpt"), "--out"]
    noise = ["--restoration.noise_a", "0", "--restoration.noise_b", "0.01", "--restoration.steps", "2"]
    with caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as ended:
        main([*words, str(tmp_path / "out"), *noise])
    assert ended.value.code == 1
    assert "c_restored.png" in capsys.readouterr().out
    assert "b.png is not an image" in caplog.text
    assert "1 image was not restored" in caplog.text


def test_a_negative_seed_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        Config(seed=-1)
