"""Buckets that others write to: what their keys may not do, and what S3 consoles leave in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.sax.saxutils import escape

import pytest
from answering import AnsweringHandler, answering

from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store

Foreign = Callable[[dict[str, bytes]], Store]


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    """A store on a server that lists and serves any key, also those that no folder could hold."""
    objects: dict[str, bytes] = {}

    class Bucket(AnsweringHandler):
        def do_GET(self) -> None:
            key = unquote(urlparse(self.path).path).removeprefix("/faces/")
            if key in objects:
                self.answer(objects[key], "application/octet-stream")
                return
            entries = (
                f"<Contents><Key>{escape(each)}</Key><Size>{len(objects[each])}</Size><ETag>0</ETag>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for each in objects
            )
            name = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>faces</Name>'
            listing = f"{name}{''.join(entries)}<IsTruncated>false</IsTruncated></ListBucketResult>"
            self.answer(listing.encode())

        def do_HEAD(self) -> None:
            self.answer(b"")

    with answering(Bucket, monkeypatch):

        def holding(contents: dict[str, bytes]) -> Store:
            objects.update(contents)
            return open_store("s3://faces")

        yield holding


@pytest.mark.parametrize("key", ["d//etc/x", "d/../../x", "d/./x", "d/a/../../../x"])
def test_no_key_leads_out_of_the_folder(foreign: Foreign, tmp_path: Path, key: str) -> None:
    if key == "d//etc/x":  # what follows the two slashes would be an absolute path
        key = f"d/{tmp_path}/outside"
    store = foreign({key: b"planted", "d/fine": b"1"})
    with pytest.raises(StoreError, match="not a key"):
        store.get_tree("d", tmp_path / "deep" / "folder")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(StoreError, match="not a key"):
        store.get_file(key, tmp_path / "new" / "target")
    assert not (tmp_path / "new").exists()


def test_empty_objects_that_stand_for_folders_are_no_files(foreign: Foreign, tmp_path: Path) -> None:
    store = foreign({"d/": b"", "d/train/": b"", "d/train/a.jpg": b"face"})
    assert [info.key for info in store.list("d/")] == ["d/train/a.jpg"]
    store.get_tree("d", tmp_path / "back")
    assert (tmp_path / "back" / "train" / "a.jpg").read_bytes() == b"face"
