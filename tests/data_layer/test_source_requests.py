"""A source of single images costs a store no request that an answer before it makes needless."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.config import Config, DataConfig
from oaml_core.data.prepare.finished import StoredDataset
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.sources.base import StoreFolder, open_folder
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from oaml_core.store import open_store
from tests.data_layer.conftest import face
from tests.store.strict_server import StrictServer, strict_server

SOURCE = "s3://strict/faces"
KINDS = ("md5", "kms", "parts", "one of parts")
SIZE = 8_192
"""Bytes of every image: beyond the picture there is nothing."""
PAGES = 3
"""Pages of the listing of 7 to 9 images."""


def image(number: int) -> bytes:
    return encode_jpeg(face(number)).ljust(SIZE, b"\0")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    """A bucket of faces that another tool put there."""
    with strict_server(monkeypatch) as found:
        for number in range(8):
            found.put_by_others(f"faces/p{number % 2}/{number}.jpg", image(number))
        yield found


def asked(server: StrictServer) -> Counter[str]:
    """Methods of the requests since the last call, which are forgotten; without questions about the bucket."""
    found = Counter(method for method, key in server.requests if key)
    server.requests.clear()
    return found


@pytest.mark.parametrize("etags", KINDS)
def test_an_image_is_one_request(etags: str, server: StrictServer, tmp_path: Path) -> None:
    server.etags = etags
    folder = open_folder(SOURCE, tmp_path)
    assert isinstance(folder, StoreFolder)
    assert asked(server) == {"LIST": PAGES}
    for ask in (folder.read, folder.sha256):
        for name in folder.files:
            ask(name)
        assert asked(server) == {"GET": 8}


@pytest.mark.parametrize("etags", KINDS)
@pytest.mark.parametrize("ask", ["read", "sha256", "local"])
def test_an_image_that_has_changed_is_named(ask: str, etags: str, server: StrictServer, tmp_path: Path) -> None:
    server.etags = etags
    folder = open_folder(SOURCE, tmp_path)
    content, _ = server.objects["faces/p1/3.jpg"]
    server.put_by_others("faces/p1/3.jpg", bytes(reversed(content)))
    with pytest.raises(DataError, match=re.escape(f"{SOURCE}/p1/3.jpg has changed since the source was listed.")):
        getattr(folder, ask)("p1/3.jpg")
    getattr(folder, ask)("p1/5.jpg")


def night(folder: Path) -> StoredDataset:
    """Prepare the source into a folder."""
    data = DataConfig(source=SOURCE, held_out_share=0.0, batch_size=4, num_instances=2)
    return prepare_dataset(Config(work_dir=str(folder / "work"), data=data), open_store(str(folder / "shelf")))


@pytest.mark.parametrize("etags", KINDS)
def test_preparing_reads_an_image_for_its_checksum_and_for_its_part(
    etags: str, server: StrictServer, tmp_path: Path
) -> None:
    server.etags = etags
    assert night(tmp_path).manifest.images == 8
    assert asked(server) == {"LIST": PAGES, "GET": 16}


@pytest.mark.parametrize("etags", KINDS)
def test_a_night_asks_for_what_has_changed_alone(etags: str, server: StrictServer, tmp_path: Path) -> None:
    server.etags = etags
    first = night(tmp_path)
    asked(server)
    assert night(tmp_path).reused
    assert asked(server) == {"LIST": PAGES}
    server.put_by_others("faces/p1/3.jpg", image(33))
    second = night(tmp_path)
    assert second.fingerprint != first.fingerprint
    assert asked(server) == {"LIST": PAGES, "GET": 9}, "a checksum, and all images for their part"
    assert night(tmp_path).reused
    assert asked(server) == {"LIST": PAGES}


@pytest.mark.parametrize("etags", KINDS)
def test_a_large_file_of_others_is_fetched_again_where_it_has_changed(
    etags: str, server: StrictServer, tmp_path: Path
) -> None:
    server.etags = etags
    server.put_by_others("faces/train.rec", b"a" * 1_000)
    for content, fetched in ((b"a", 1), (b"a", 0), (b"b", 1), (b"b", 0)):
        if server.objects["faces/train.rec"][0] != content * 1_000:
            server.put_by_others("faces/train.rec", content * 1_000)
        folder = open_folder(SOURCE, tmp_path)
        asked(server)
        assert folder.local("train.rec").read_bytes() == content * 1_000
        assert asked(server)["GET"] == fetched


def test_a_night_lists_its_source_once(server: StrictServer, tmp_path: Path) -> None:
    first = night(tmp_path)
    assert asked(server) == {"LIST": PAGES, "GET": 16}
    server.put_by_others("faces/p0/new.jpg", image(8))
    second = night(tmp_path)
    assert asked(server) == {"LIST": PAGES, "GET": 10}, "a checksum, and all images for their part"
    assert (first.manifest.images, second.manifest.images) == (8, 9)
    assert night(tmp_path).reused
    assert asked(server) == {"LIST": PAGES}
