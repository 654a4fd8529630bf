"""Uploads that nobody ended, on a server that answers as S3 is documented to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlparse

import pytest
from answering import AnsweringHandler, answering

from oaml_core.stages.collect_garbage import find_garbage, remove
from oaml_core.store import open_store

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
LISTED = "<ListBucketResult xmlns='{0}'><Name>faces</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
PAGE = "<ListMultipartUploadsResult xmlns='{0}'><Bucket>faces</Bucket>{1}</ListMultipartUploadsResult>"
MORE = "<IsTruncated>true</IsTruncated><NextKeyMarker>{0}</NextKeyMarker><NextUploadIdMarker>{1}</NextUploadIdMarker>"
UPLOAD = "<Upload><Key>{0}</Key><UploadId>{1}</UploadId><Initiated>{2}</Initiated></Upload>"


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[str, datetime]]]:
    """Upload ids with key and beginning, on a server that lists one a page."""
    held: dict[str, tuple[str, datetime]] = {}

    class Bucket(AnsweringHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlparse(self.path).query, keep_blank_values=True)
            if "uploads" not in query:
                self.answer(LISTED.format(NAMESPACE).encode())
                return
            prefix, seen = query["prefix"][0], query.get("upload-id-marker", [""])[0]
            left = sorted(each for each, (key, _) in held.items() if key.startswith(prefix) and each > seen)
            entry = "".join(
                UPLOAD.format(held[each][0], each, f"{held[each][1]:%Y-%m-%dT%H:%M:%S.000Z}") for each in left[:1]
            )
            more = MORE.format(held[left[0]][0], left[0]) if len(left) > 1 else "<IsTruncated>false</IsTruncated>"
            self.answer(PAGE.format(NAMESPACE, more + entry).encode())

        def do_DELETE(self) -> None:
            del held[parse_qs(urlparse(self.path).query)["uploadId"][0]]
            self.answer(b"", status=204)

        def do_HEAD(self) -> None:
            self.answer(b"", status=200 if urlparse(self.path).path.strip("/") == "faces" else 404)

    with answering(Bucket, monkeypatch):
        yield held


def test_old_ones_go_and_young_ones_stay(uploads: dict[str, tuple[str, datetime]]) -> None:
    now = datetime.now(UTC)
    old, young = now - timedelta(days=9), now - timedelta(hours=1)
    uploads |= {
        "1": ("x/runs/a/big", old),
        "2": ("x/runs/b/big", young),
        "3": ("x/runs/c/big", old),
        "4": ("x/runs/c/big2", old),
        "5": ("other/runs/a/big", old),
    }
    store = open_store("s3://faces/x")
    garbage = find_garbage(store, 7, timedelta(days=2))
    assert [each.key for each in garbage.uploads] == ["runs/a/big", "runs/c/big", "runs/c/big2"]
    assert set(uploads) == {"1", "2", "3", "4", "5"}
    remove(store, garbage)
    assert set(uploads) == {"2", "5"}
