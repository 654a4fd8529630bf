"""A night whose source is listed as before ends with the listing, and holds nothing of it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oaml_core.config import Config, DataConfig
from oaml_core.data.prepare import listed_before, prepare, shard_plan
from oaml_core.data.prepare.fingerprint import INVENTORIES
from oaml_core.data.prepare.finished import StoredDataset
from oaml_core.data.sources import listing, listing_file, listing_sum
from oaml_core.data.sources.base import SourceFile
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.listing_file import KeptListings
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store
from oaml_core.store.s3 import S3Store

PEOPLE, EACH = 12, 3
SIZE = 8_192
"""Bytes of every file: beyond the picture there is nothing."""


@pytest.fixture(params=["s3", "folder"])
def raw(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A source of faces, in a bucket or in a folder."""
    generator = np.random.default_rng(0)
    owners = np.repeat(np.arange(PEOPLE), EACH)
    faces = draw_faces(draw_identities(PEOPLE, generator), owners, generator).images
    (tmp_path / "server").mkdir()
    with embedded_s3(tmp_path / "server") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://raw/faces" if request.param == "s3" else str(tmp_path / "faces"))
        for number, (owner, face) in enumerate(zip(owners, faces, strict=True)):
            store.write_bytes(f"p{owner:02d}/{number:03d}.jpg", encode_jpeg(face).ljust(SIZE, b"\0"))
        yield store


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources that were listed into memory."""
    names: list[str] = []
    for module in (prepare, shard_plan):
        real = module.open_folders

        def counted(data: DataConfig, *rest: object, real=real) -> object:  # type: ignore[no-untyped-def]
            names.append(str(data.source))
            return real(data, *rest)

        monkeypatch.setattr(module, "open_folders", counted)
    return names


def night(raw: Store, folder: Path, **data: object) -> StoredDataset:
    """Prepare the source as a pod does that begins with an empty disk."""
    work = folder / f"work-{len(list(folder.glob('work-*')))}"
    work.mkdir()
    source = raw.uri.removeprefix("file://")
    config = Config(work_dir=str(work), data=DataConfig(source=source, **data))  # type: ignore[arg-type]
    return prepare.prepare_dataset(config, open_store(str(folder / "shelf")))


def test_nothing_new_is_told_by_the_listing_alone(raw: Store, opened: list[str], tmp_path: Path) -> None:
    first = night(raw, tmp_path)
    again = night(raw, tmp_path)
    assert (again.fingerprint, again.reused, len(opened)) == (first.fingerprint, True, 1)
    assert night(raw, tmp_path, max_images_per_identity=2).fingerprint != first.fingerprint
    assert len(opened) == 2, "another configuration is another data set"


@pytest.mark.parametrize("change", ["added", "removed", "replaced", "renamed"])
def test_any_change_of_the_source_is_found(change: str, raw: Store, opened: list[str], tmp_path: Path) -> None:
    first = night(raw, tmp_path)
    content = raw.read_bytes("p03/009.jpg")
    if change == "added":
        raw.write_bytes("p00/new.jpg", raw.read_bytes("p01/003.jpg"))
    if change in ("removed", "renamed"):
        raw.delete("p03/009.jpg")
    if change == "renamed":
        raw.write_bytes("p04/009.jpg", content)
    if change == "replaced":  # by another picture with as many bytes
        raw.write_bytes("p03/009.jpg", raw.read_bytes("p05/015.jpg"))
    assert night(raw, tmp_path).fingerprint != first.fingerprint
    assert len(opened) == 2


def test_what_is_kept_is_trusted_no_further_than_it_goes(raw: Store, opened: list[str], tmp_path: Path) -> None:
    first = night(raw, tmp_path)
    shelf = tmp_path / "shelf"
    (kept,) = (shelf / INVENTORIES).glob("*.json")
    key = f"{INVENTORIES}/{kept.name}"
    store, content = open_store(str(shelf)), json.loads(kept.read_text())
    for wrong in (b"{", json.dumps(content | {"fingerprint": "../" * 5 + "x"}).encode(), b'{"listing": 1}'):
        store.write_bytes(key, wrong)
        assert night(raw, tmp_path).fingerprint == first.fingerprint
    assert len(opened) == 4
    store.delete(f"datasets/{first.fingerprint}/manifest.json")
    made = night(raw, tmp_path)
    assert (made.fingerprint, made.reused, len(opened)) == (first.fingerprint, False, 5)


def test_a_source_that_cannot_be_listed_is_the_slow_ways_to_tell(
    raw: Store, opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = night(raw, tmp_path)

    def away(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(listed_before, "over_entries", away)
    assert night(raw, tmp_path).fingerprint == first.fingerprint
    assert len(opened) == 2


def test_shards_are_not_planned_for_nothing(raw: Store, opened: list[str], tmp_path: Path) -> None:
    source = raw.uri.removeprefix("file://")
    store = open_store(str(tmp_path / "shelf"))
    config = Config(work_dir=str(tmp_path / "work"), data=DataConfig(source=source))
    first = night(raw, tmp_path)
    plan = shard_plan.plan_shards(config, store, 3)
    assert (plan.made, len(opened)) == (first.fingerprint, 1)
    again = shard_plan.plan_shards(replace(config, work_dir=str(tmp_path / "other")), store, 3)
    assert (again.key, len(opened)) == (plan.key, 1)


def test_what_is_new_is_listed_once(
    raw: Store, opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[object] = []
    for place, name, real in ((S3Store, "_listed", S3Store._listed), (listing, "files_below", listing.files_below)):

        def counted(where: object, *rest: object, real=real, **options: object) -> object:  # type: ignore[no-untyped-def]
            listings.append(where)
            return real(where, *rest, **options)

        monkeypatch.setattr(place, name, counted)
    night(raw, tmp_path)
    assert (len(listings), len(opened)) == (1, 1)
    raw.write_bytes("p00/new.jpg", raw.read_bytes("p01/003.jpg"))
    assert not night(raw, tmp_path).reused
    assert (len(listings), len(opened)) == (2, 2)
    raw.delete("p00/new.jpg")
    config = Config(work_dir=str(tmp_path / "plan"), data=DataConfig(source=raw.uri.removeprefix("file://")))
    shard_plan.plan_shards(config, open_store(str(tmp_path / "shelf")), 3)
    assert (len(listings), len(opened)) == (3, 3)


@pytest.mark.parametrize(("change", "lines_written"), [("", 0), ("p00/new.jpg", 35), ("p11/new.jpg", 35)])
def test_a_long_listing_is_written_from_its_first_difference_on(
    change: str, lines_written: int, raw: Store, opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_sum, "EVERY", 5)
    monkeypatch.setattr(listing_file, "MOST_HELD", 10)
    lines: list[str] = []
    real = KeptListings._written
    monkeypatch.setattr(
        KeptListings,
        "_written",
        lambda kept, file, given: real(kept, file, (lines.append(line) or line for line in given)),  # type: ignore[func-returns-value]
    )
    first = night(raw, tmp_path)
    if change:
        raw.write_bytes(change, raw.read_bytes("p01/003.jpg"))
    again = night(raw, tmp_path)
    assert (again.reused, len(opened)) == (not change, 2 if change else 1)
    in_store = raw.uri.startswith("s3://")
    # Two of 37 wait in memory behind the last mark; where one of them is the new one, the others are listed again.
    assert len(lines) == (lines_written if in_store else 0)
    assert (again.fingerprint == first.fingerprint) == (not change)
    assert night(raw, tmp_path).reused
    (kept,) = (tmp_path / "shelf" / INVENTORIES).glob("*.json")
    content = json.loads(kept.read_text())
    assert len(content["marks"].get("", "")) == (7 * 16 if in_store else 0)
    del lines[:], content["marks"]  # as an earlier version kept it
    open_store(str(tmp_path / "shelf")).write_bytes(f"{INVENTORIES}/{kept.name}", json.dumps(content).encode())
    assert night(raw, tmp_path).reused
    assert bool(lines) == in_store, "nothing told that the listing begins as before"
    del lines[:]
    assert night(raw, tmp_path).reused
    assert not lines


def test_a_file_without_stamp_is_looked_at_every_night() -> None:
    files = [SourceFile("a.jpg", 3, "t"), SourceFile("b.jpg", 3, "")]
    assert listed_before.sum_of_files("", files) is None
    assert listed_before._digest({"": 1, "verification": None}) == ""


def test_the_sum_holds_nothing_and_knows_no_order() -> None:
    files = [SourceFile(f"{number:06d}.jpg", number, f"{number:032x}") for number in range(20_000)]
    tracemalloc.start()
    found = listed_before.sum_of_files("", iter(files))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000  # the files take 4 MB
    assert listed_before.sum_of_files("", reversed(files)) == found
    assert listed_before.sum_of_files("", [*files[1:], replace(files[0], stamp="x")]) != found
    assert listed_before.sum_of_files("verification", files) != found
