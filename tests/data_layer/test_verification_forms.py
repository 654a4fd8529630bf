"""Verification sets in the forms that other tools write: memfiles, pairs in shards, labelled lists and splits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from oaml_core.config import Config
from oaml_core.data.check.checks import check_source
from oaml_core.data.prepared.verification import open_verification, write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.inputs import open_folders, open_inputs, open_training
from oaml_core.data.sources.verification import find_verification, open_verification_source
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.errors import DataError
from tests.data_layer.conftest import face, write_bin
from tests.data_layer.test_shards_and_parquet import jpeg, write_tar

PAIRS = 12
SAME = [True, False] * (PAIRS // 2)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


FACES = [face(number, 32) for number in range(2 * PAIRS)]


def adaface_memfile(folder: Path, name: str) -> None:
    """`convert.py` and `evaluate_utils.py`: float32 [2N, 3, H, W], BGR, (value / 255 − 0.5) / 0.5."""
    planes = np.stack(FACES)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    (folder / name / "memfile").mkdir(parents=True)
    file = folder / name / "memfile" / "mem_file.dat"
    ((planes / 255 - 0.5) / 0.5).astype(np.float32).tofile(file)
    file.with_name("mem_file.dat.conf").write_text(json.dumps({"shape": [2 * PAIRS, 3, 32, 32], "dtype": "float32"}))
    np.save(folder / f"{name}_list.npy", np.array(SAME))


def own_memfile(folder: Path, name: str) -> None:
    np.stack(FACES).tofile(folder / f"{name}.dat")
    (folder / f"{name}.dat.conf").write_text(json.dumps({"shape": [2 * PAIRS, 32, 32, 3], "dtype": "uint8"}))
    np.save(folder / f"{name}_list.npy", np.array(SAME))


def pairs_in_tars(folder: Path, name: str) -> None:
    """Two shards, the first image of a pair written after the second, truth in all ways."""
    for shard in range(2):
        members: list[tuple[str, bytes]] = []
        for pair in range(shard * PAIRS // 2, (shard + 1) * PAIRS // 2):
            members += [(f"{pair:03d}.1.png", png(FACES[2 * pair + 1])), (f"{pair:03d}.0.png", png(FACES[2 * pair]))]
            truth = json.dumps({"same": SAME[pair]}) if shard else str(int(SAME[pair]))
            members.append((f"{pair:03d}.{'json' if shard else 'cls'}", truth.encode()))
        write_tar(folder / "verification" / f"{name}-{shard:05d}.tar", members)


def pairs_in_columns(folder: Path, name: str) -> None:
    """Two images per row, as `datasets` writes them: structs of bytes and path, several row groups."""
    images = [{"bytes": png(image), "path": None} for image in FACES]
    table = pyarrow.table({"image1": images[0::2], "image2": images[1::2], "same": SAME})
    (folder / "verification").mkdir()
    for shard in range(2):
        part = table.slice(shard * PAIRS // 2, PAIRS // 2)
        file = folder / "verification" / f"{name}-0000{shard}-of-00002.parquet"
        pyarrow.parquet.write_table(part, file, row_group_size=4)


def pairs_in_rows(folder: Path, name: str) -> None:
    """One image per row, pairs two by two, as CVLface has them."""
    flags = [flag for flag in SAME for _ in range(2)]
    table = pyarrow.table({"image": [png(image) for image in FACES], "is_same": flags})
    (folder / "verification").mkdir()
    pyarrow.parquet.write_table(table, folder / "verification" / f"{name}.parquet", row_group_size=5)


FORMS: list[Callable[[Path, str], None]] = [
    adaface_memfile,
    own_memfile,
    pairs_in_tars,
    pairs_in_columns,
    pairs_in_rows,
]


def opened(folder: Path, name: str) -> VerificationSource:
    source = LocalFolder(folder)
    return open_verification_source(source, name, find_verification(source)[name])


@pytest.mark.parametrize("write", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_every_form_gives_the_same_pairs(tmp_path: Path, config: Callable[..., Config], write: Any, order: str) -> None:
    write(tmp_path, "lfw")
    people = tmp_path / "people"
    for number in range(12):
        (people / str(number // 4)).mkdir(parents=True, exist_ok=True)
        (people / str(number // 4) / f"{number}.png").write_bytes(png(face(100 + number)))
    settings = config(people, verification_source=str(tmp_path), channel_order=order)
    report = check_source(str(people), settings)
    assert [line.result for line in report.findings if line.check == "verification"] == ["lfw: 12 pairs"]
    write_verification(opened(tmp_path, "lfw"), tmp_path / "out", image_size=32, channel_order=order)
    written = open_verification(tmp_path / "out", "lfw")
    assert written.issame.tolist() == SAME
    shown = np.asarray(written.images)
    states_order = "memfile" in write.__name__
    assert np.array_equal(shown if order == "rgb" or states_order else shown[..., ::-1], np.stack(FACES))


def test_a_set_in_several_forms_is_read_once(tmp_path: Path) -> None:
    adaface_memfile(tmp_path, "lfw")
    write_bin(tmp_path / "lfw.bin", [jpeg(number) for number in range(4)], [True, False])
    assert find_verification(LocalFolder(tmp_path)) == {"lfw": "lfw.bin"}


def damage_truth(folder: Path) -> None:
    np.save(folder / "lfw_list.npy", np.array(SAME[:-1]))


def damage_size(folder: Path) -> None:
    file = folder / "lfw" / "memfile" / "mem_file.dat"
    file.write_bytes(file.read_bytes()[:-4])


def damage_values(folder: Path) -> None:
    file = folder / "lfw" / "memfile" / "mem_file.dat"
    file.write_bytes(np.full(file.stat().st_size // 4, 200, np.float32).tobytes())


def damage_shape(folder: Path) -> None:
    conf = folder / "lfw" / "memfile" / "mem_file.dat.conf"
    conf.write_text(json.dumps({"shape": [2 * PAIRS, 32 * 32 * 3], "dtype": "float32"}))


def lose_images(folder: Path) -> None:
    (folder / "lfw" / "memfile" / "mem_file.dat").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truth, "24 images for 11 pairs"),
        (damage_size, "announced"),
        (damage_values, r"image 0 has values outside \[-1, 1\]"),
        (damage_shape, r"float32\[24, 3072\]"),
        (lose_images, r"bcolz is not.*lfw\.bin"),
    ],
)
def test_damaged_memfiles_are_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    adaface_memfile(tmp_path, "lfw")
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        next(opened(tmp_path, "lfw").read_images())


def labelled(folder: Path) -> list[tuple[str, str]]:
    """Five people with three images each, beside nothing else; (path, label) of each."""
    entries = []
    for number in range(15):
        path = f"val/img {number:02d}.JPEG"
        (folder / "val").mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(jpeg(number))
        entries.append((path, str(number % 5)))
    return entries


LISTS = {
    "val.txt": lambda n, path, label: f"{path.removeprefix('val/')} {label}",
    "val.lst": lambda n, path, label: f"{n}\t{label}.000000\t{path}",
    "test.lst": lambda n, path, label: f"1\t{path}\t{label}\t0.1\t0.2",
}


@pytest.mark.parametrize("file", ["val.txt", "val.lst", "test.lst"])
def test_labelled_lists_become_pairs_that_are_said_to_be_drawn(tmp_path: Path, file: str) -> None:
    lines = [LISTS[file](n, *entry) for n, entry in enumerate(labelled(tmp_path))]
    (tmp_path / file).write_text("\n".join(lines) + "\n")
    name = Path(file).stem
    pairs = opened(tmp_path, name)
    assert int(pairs.issame.sum()) == 15
    assert len(pairs) == 30
    assert pairs.identities is not None
    assert np.array_equal(pairs.identities[0::2] == pairs.identities[1::2], pairs.issame)
    assert set(pairs.people.values()) == set("01234")
    assert "no published protocol" in pairs.notes[0]
    assert set(pairs.read_images()) == {jpeg(number) for number in range(15)}


@pytest.mark.parametrize("file", ["train.lst", "train.txt"])
def test_labelled_lists_are_training_sources(tmp_path: Path, file: str) -> None:
    entries = labelled(tmp_path)
    form = LISTS["test.lst"] if file == "train.lst" else lambda n, path, label: f"{path} {label}"
    lines = [form(n, *entry) for n, entry in enumerate(entries)]
    (tmp_path / file).write_text("\n".join([*lines, "alone.jpg\n"]))
    source = open_training(LocalFolder(tmp_path), tmp_path)
    assert source.kind == "labelled_list"
    assert [source.name(n) for n in range(15)] == [path for path, _ in entries]
    assert [source.identity_name(int(label)) for label in source.labels] == [label for _, label in entries]
    assert source.damaged[0][0] == f"{file} line 16"


def test_a_text_that_lists_no_images_is_no_list(tmp_path: Path) -> None:
    for person in ("anna", "ben"):
        (tmp_path / person).mkdir()
        (tmp_path / person / "0.jpg").write_bytes(jpeg(0))
    (tmp_path / "train.txt").write_text("How these images came about\n")
    (tmp_path / "val.txt").write_text("nothing here\n")
    source = LocalFolder(tmp_path)
    assert open_training(source, tmp_path).kind == "image_folder"
    assert find_verification(source) == {}


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_validation_splits_are_paired_and_not_trained_on(
    tmp_path: Path, config: Callable[..., Config], kind: str
) -> None:
    for split, first in (("train", 0), ("val", 100)):
        images = [jpeg(first + number) for number in range(15)]
        if kind == "tar":
            members = [
                m for n, data in enumerate(images) for m in ((f"{n:02d}.jpg", data), (f"{n:02d}.cls", b"%d" % (n % 5)))
            ]
            write_tar(tmp_path / f"{split}-000.tar", members)
        else:
            table = pyarrow.table({"image": images, "label": [n % 5 for n in range(15)]})
            (tmp_path / "data").mkdir(exist_ok=True)
            pyarrow.parquet.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    settings = config(tmp_path)
    inputs = open_inputs(settings, open_folders(settings.data, tmp_path / "scratch"))
    assert len(inputs.training) == 15
    (pairs,) = inputs.verification
    assert pairs.name == "val"
    assert len(pairs) == 30
    assert set(pairs.read_images()) == {jpeg(100 + number) for number in range(15)}
    assert any("5 people of val with labels that are trained on" in note for note in inputs.notes)
