"""Small raw data sets, made anew for each test."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.config import Config, DataConfig
from oaml_core.data.check.report import CheckReport
from oaml_core.data.prepare import packer
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.fetched_files import room_on_disk
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.store import open_store

DATA = Path(__file__).parents[1] / "data"
PEOPLE, IMAGES = 12, 6
"""In the data set of many small parts."""


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


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a data set of many small parts, and the data set's fingerprint."""
    folder = tmp_path_factory.mktemp("parts")
    for number in range(PEOPLE * IMAGES):
        path = folder / "faces" / f"person{number // IMAGES:02d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(face(number)))
    data = DataConfig(source=str(folder / "faces"), held_out_share=0.0, batch_size=4, num_instances=2)
    config = Config(work_dir=str(folder / "work"), store=str(folder / "store"), data=data)
    with pytest.MonkeyPatch.context() as patch:
        small = partial(PartWriter, min_bytes=10_000, target_bytes=14_000, max_bytes=18_000)
        patch.setattr(packer, "PartWriter", small)
        made = prepare_dataset(config, open_store(config.store))
    return folder / "store", made.fingerprint


@pytest.fixture
def made(config: Callable[..., Config], prepared_once: tuple[Path, str]) -> Config:
    """A configuration whose store is a copy of the prepared one."""
    found = config(num_workers=0)
    shutil.copytree(prepared_once[0], found.store)
    return found


@pytest.fixture
def uri(made: Config, prepared_once: tuple[Path, str]) -> str:
    return open_store(made.store).url(f"datasets/{prepared_once[1]}")


@pytest.fixture
def streamed(uri: str, tmp_path: Path) -> PreparedDataset:
    assert room_on_disk(tmp_path) > 0, "no part comes: less than a tenth of the disk is free, see KEPT_FREE"
    return fetch_prepared(uri, tmp_path / "node" / "set", "stream")
