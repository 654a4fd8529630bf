"""Files that are hashed and then do not come as they were: no later night takes them for a part of the data set."""

from __future__ import annotations

import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from oaml_core.config import Config
from oaml_core.data.prepare import prepare as preparing
from oaml_core.data.prepare import shard_plan
from oaml_core.data.prepare.finished import StoredDataset
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepare.shard_merge import prepare_sharded
from oaml_core.data.sources import base as sources
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from oaml_core.folder_entries import open_regular
from oaml_core.store import open_store
from tests.data_layer.conftest import face, write_bin
from tests.store.strict_server import StrictServer, strict_server

NEVER_READ = Path("/proc/self/mem")
"""A regular file whose first byte nobody can read, not even root, as on a disk with a bad sector."""

Config_ = Callable[..., Config]


def whole(config: Config) -> StoredDataset:
    return prepare_dataset(config, open_store(config.store))


def in_shards(config: Config) -> StoredDataset:
    return prepare_sharded(config, open_store(config.store), 2)


both = pytest.mark.parametrize("prepare", [whole, in_shards])


def images() -> Iterator[tuple[int, int, bytes]]:
    """Yield person, number and content of twelve images."""
    for number in range(12):
        yield number % 3, number, encode_jpeg(face(number))


def as_images(folder: Path) -> Path:
    for person, number, image in images():
        path = folder / f"person{person}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return folder / "person1" / "4.jpg"


def as_tar(folder: Path) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "train-000.tar", "w") as archive:
        for person, number, image in images():
            for name, content in ((f"{number}.jpg", image), (f"{number}.cls", str(person).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
    return folder / "train-000.tar"


def as_parquet(folder: Path) -> Path:
    folder.mkdir()
    rows = [{"image": {"bytes": image, "path": None}, "label": person} for person, _, image in images()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    return folder / "train-00000-of-00001.parquet"


def as_list(folder: Path) -> Path:
    as_images(folder)
    lines = [f"person{person}/{number}.jpg,p{person}" for person, number, _ in images()]
    (folder / "train.csv").write_text("\n".join(["path,identity", *lines]) + "\n")
    return folder / "train.csv"


def with_pairs(folder: Path) -> Path:
    as_images(folder)
    pairs = [encode_jpeg(face(100 + number // 2)) for number in range(8)]
    write_bin(folder / "lfw.bin", pairs, [True, False, True, False])
    return folder / "lfw.bin"


def with_masks(folder: Path) -> Path:
    as_images(folder)
    for kind in ("kept_faces", "masks"):
        (folder / kind).mkdir()
    for number in range(4):
        (folder / "kept_faces" / f"{number}.jpg").write_bytes(encode_jpeg(face(50 + number)))
        (folder / "masks" / f"{number}_mask.png").write_bytes(encode_jpeg(face(60 + number)))
    return folder / "kept_faces" / "2.jpg"


FORMS = {form.__name__: form for form in (as_images, as_tar, as_parquet, as_list, with_pairs, with_masks)}


def vanish(path: Path) -> None:
    path.rename(path.with_name("away"))


def become_unreadable(path: Path) -> None:
    vanish(path)
    path.symlink_to(NEVER_READ)


def change(path: Path) -> None:
    content = path.read_bytes()
    vanish(path)
    path.write_bytes(content[: len(content) // 2] + content[: len(content) - len(content) // 2])


def come_back(path: Path) -> None:
    path.with_name("away").replace(path)


def after_hashing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen once, when all checksums are known and before a file is read for the data set."""
    left = [act]
    for module in (preparing, shard_plan):
        known = module.fingerprint_of

        def found(*arguments: Any, known: Callable[..., str] = known) -> str:
            fingerprint = known(*arguments)
            for one in left:
                one()
            left.clear()
            return fingerprint

        monkeypatch.setattr(module, "fingerprint_of", found)


@both
@pytest.mark.parametrize("way", [vanish, become_unreadable, change])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_next_night_makes_what_an_undisturbed_one_makes(
    tmp_path: Path,
    config: Config_,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Config], StoredDataset],
    way: Callable[[Path], None],
    form: Callable[[Path], Path],
) -> None:
    path = form(tmp_path / "faces")
    mine = config(tmp_path / "faces", broken_images_tolerated=0.9)
    undisturbed = prepare(replace(mine, work_dir=str(tmp_path / "other"), store=str(tmp_path / "shelf"))).manifest
    after_hashing(monkeypatch, lambda: way(path))
    with suppress(DataError):  # it may stop, too
        assert prepare(mine).fingerprint != undisturbed.fingerprint
    come_back(path)
    made = prepare(mine)
    assert not made.reused
    assert made.manifest == undisturbed
    assert prepare(mine).reused


@pytest.fixture
def bad_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Let a file be opened so many times, and never again, although nothing of its entry changes."""
    left: dict[Path, int] = {}

    def opened(path: Path) -> Any:
        if path in left:
            left[path] -= 1
            if left[path] < 0:
                raise OSError(5, "Input/output error", str(path))
        return open_regular(path)

    def tell(path: Path, times: int) -> None:
        left[path] = times

    monkeypatch.setattr(sources, "open_regular", opened)
    return tell


@both
@pytest.mark.parametrize("opened", [0, 1])
def test_an_image_of_a_bad_disk_is_missed_until_it_can_be_read(
    tmp_path: Path,
    config: Config_,
    bad_disk: Callable[[Path, int], None],
    prepare: Callable[[Config], StoredDataset],
    opened: int,
) -> None:
    path = as_images(tmp_path / "faces")
    mine = config(tmp_path / "faces", broken_images_tolerated=0.9)
    bad_disk(path, opened)
    first = prepare(mine)
    assert (first.manifest.images, first.manifest.set_aside, first.reused) == (11, 1, False)
    again = prepare(mine)
    assert (again.fingerprint, again.reused) == (first.fingerprint, True)
    bad_disk(path, 10**6)
    mended = prepare(mine)
    assert (mended.manifest.images, mended.manifest.set_aside, mended.reused) == (12, 0, False)
    bad_disk(path, 0)  # its checksum is kept, and the data set has it
    assert prepare(mine).reused


def test_records_of_a_bad_disk_are_missed_until_they_can_be_read(
    recordio: Path, config: Config_, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = config(recordio, broken_images_tolerated=0.9)
    read, calls = os.pread, iter(range(10**9))

    def failing(*arguments: int) -> bytes:
        if next(calls) == 2:
            raise OSError(5, "Input/output error")
        return read(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", failing)
        first = whole(mine)
    assert first.manifest.set_aside == 1
    second = whole(mine)
    assert (second.reused, second.manifest.set_aside) == (False, 0)
    assert second.fingerprint != first.fingerprint
    assert whole(mine).reused


def test_damaged_content_is_no_loss(tmp_path: Path, config: Config_) -> None:
    path = with_pairs(tmp_path / "faces")
    path.write_bytes(pickle.dumps(([b"1", b"2"], [True]))[:-3])
    (tmp_path / "faces" / "person0" / "0.jpg").write_bytes(b"no image")
    mine = config(tmp_path / "faces", broken_images_tolerated=0.9)
    with pytest.raises(DataError, match="lfw"):
        whole(mine)
    path.unlink()
    assert whole(mine).manifest.set_aside == 1
    assert whole(mine).reused


def test_a_list_that_names_a_missing_image_is_no_loss(tmp_path: Path, config: Config_) -> None:
    path = as_list(tmp_path / "faces")
    path.write_text(path.read_text() + "person0/never.jpg,p0\n")
    mine = config(tmp_path / "faces", broken_images_tolerated=0.9)
    assert whole(mine).manifest.set_aside == 1
    assert whole(mine).reused


def test_a_subset_that_changes_meanwhile_is_named(
    tmp_path: Path, config: Config_, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_images(tmp_path / "faces")
    subset = tmp_path / "subset.txt"
    names = [f"person{person}/{number}.jpg\n" for person, number, _ in images()]
    subset.write_text("".join(names))
    after_hashing(monkeypatch, lambda: subset.write_text("".join(names[:9])))
    with pytest.raises(DataError, match=r"data\.subset names has changed"):
        whole(config(tmp_path / "faces", subset=str(subset)))


SOURCE = "s3://strict/faces"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StrictServer]:
    """A bucket of faces that another tool put there."""
    with strict_server(monkeypatch) as found:
        as_images(tmp_path / "faces")
        for path in sorted((tmp_path / "faces").rglob("*.jpg")):
            found.put_by_others(f"faces/{path.relative_to(tmp_path / 'faces')}", path.read_bytes())
        yield found


@both
@pytest.mark.parametrize("way", ["changed", "vanished", "damaged"])
def test_objects_that_are_lost_are_missed_until_they_can_be_read(
    server: StrictServer,
    config: Config_,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Config], StoredDataset],
    way: str,
) -> None:
    key = "faces/person1/4.jpg"
    content, when = server.objects[key], server.modified[key]

    def lose() -> None:
        if way == "changed":
            server.put_by_others(key, content[0][::-1])
        elif way == "vanished":
            server.objects.pop(key)
        else:
            server.rotten[key] = content[0][::-1]

    mine = replace(config(broken_images_tolerated=0.9))
    mine = replace(mine, data=replace(mine.data, source=SOURCE))
    after_hashing(monkeypatch, lose)
    first = prepare(mine)
    assert (first.manifest.images, first.manifest.set_aside) == (11, 1)
    server.objects[key], server.modified[key] = content, when
    server.rotten.clear()
    second = prepare(mine)
    assert (second.manifest.images, second.manifest.set_aside, second.reused) == (12, 0, False)
    assert prepare(mine).reused
