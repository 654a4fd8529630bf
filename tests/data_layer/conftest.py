"""Small raw data sets, made anew for each test."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.config import Config, DataConfig
from oaml_core.data.check.report import CheckReport
from oaml_core.decoding.decode import encode_jpeg

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def recordio(tmp_path: Path) -> Path:
    """A writable copy of the reference record file."""
    folder = tmp_path / "recordio"
    shutil.copytree(DATA / "recordio", folder)
    return folder


def face(number: int, side: int = 112) -> np.ndarray:
    """A smooth, reddish picture that differs from every other number's: uint8 [side, side, 3]."""
    generator = np.random.default_rng(number)
    small = generator.uniform(40, 200, (6, 6, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)).copy()
    image[..., 2] //= 2
    return image


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three identities with 3, 4 and 5 JPEG images."""
    folder = tmp_path / "faces"
    for identity, count in enumerate((3, 4, 5)):
        (folder / f"person{identity}").mkdir(parents=True)
        for image in range(count):
            path = folder / f"person{identity}" / f"{image}.jpg"
            path.write_bytes(encode_jpeg(face(10 * identity + image)))
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Makes a configuration whose files stay in the test's folder: `config(source, **data keys)`."""

    def make(source: Path | None = None, **data: object) -> Config:
        keys = {"num_instances": 2, "batch_size": 4, "held_out_share": 0.0} | data
        return Config(
            work_dir=str(tmp_path / "work"),
            store=str(tmp_path / "store"),
            data=DataConfig(source=None if source is None else str(source), **keys),
        )

    return make


def write_bin(path: Path, images: list[bytes], issame: list[bool]) -> None:
    """A verification set as InsightFace writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((images, issame), protocol=4))


def flip_bit(path: Path, byte: int, bit: int = 3) -> None:
    """Damage one bit of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(bytes(data))


def truncate(path: Path, size: int) -> None:
    """Cut a file off."""
    path.write_bytes(path.read_bytes()[:size])


def finding(report: CheckReport, check: str) -> str:
    """Say what a check found, as the table does."""
    return next(f"{f.verdict}: {f.result}. {f.remedy}" for f in report.findings if f.check == check)
