"""A night with nothing new asks a store for nothing but its listing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.data.prepare.fingerprint import INVENTORIES, fingerprint_of
from oaml_core.data.sources.base import StoreFolder, open_folder
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.store import Store, open_store

IMAGES = 40


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A source of small files in a bucket."""
    (tmp_path / "server").mkdir()
    with embedded_s3(tmp_path / "server") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://raw/faces")
        for number in range(IMAGES):
            store.write_bytes(f"p{number % 7}/{number:03d}.jpg", b"image %03d" % number)
        yield store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose checksum was asked for."""
    names: list[str] = []
    whole = StoreFolder.sha256

    def counted(folder: StoreFolder, name: str) -> str:
        names.append(name)
        return whole(folder, name)

    monkeypatch.setattr(StoreFolder, "sha256", counted)
    return names


def night(folder: Path, number: int) -> str:
    """Fingerprint of the source, found by a pod that begins with an empty disk."""
    work = folder / f"night-{number}"
    there = open_folder("s3://raw/faces", work / "fetched")
    return fingerprint_of({}, {"": there}, work / "checksums.sqlite", open_store("s3://oaml/run"))


def test_only_what_is_new_is_asked_for(raw: Store, asked: list[str], tmp_path: Path) -> None:
    first = night(tmp_path, 1)
    assert len(asked) == IMAGES
    assert night(tmp_path, 2) == first
    assert len(asked) == IMAGES
    raw.write_bytes("p0/new.jpg", b"a new image")
    assert night(tmp_path, 3) != first
    assert asked[IMAGES:] == ["p0/new.jpg"]
    raw.delete("p0/new.jpg")
    assert night(tmp_path, 4) == first
    assert len(asked) == IMAGES + 1


def test_an_image_that_was_replaced_by_one_of_the_same_size_is_found(
    raw: Store, asked: list[str], tmp_path: Path
) -> None:
    first = night(tmp_path, 1)
    raw.write_bytes("p3/003.jpg", b"image 999")
    assert night(tmp_path, 2) != first
    assert asked[IMAGES:] == ["p3/003.jpg"]


def test_a_fingerprint_does_not_depend_on_what_is_known(raw: Store, tmp_path: Path) -> None:
    found = night(tmp_path, 1)
    there = open_folder("s3://raw/faces", tmp_path / "fetched")
    assert fingerprint_of({}, {"": there}, tmp_path / "none.sqlite") == found


def test_a_damaged_inventory_is_made_again(raw: Store, asked: list[str], tmp_path: Path) -> None:
    first = night(tmp_path, 1)
    (kept,) = (tmp_path / "server" / "oaml" / "run" / INVENTORIES).glob("*.sqlite")
    kept.write_bytes(b"x" * kept.stat().st_size)
    assert night(tmp_path, 2) == first
    assert len(asked) == 2 * IMAGES
