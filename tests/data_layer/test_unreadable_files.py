"""Files of a source that their disk does not give: images are set aside as damaged ones are, others are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oaml_core.config import Config
from oaml_core.data.prepare.prepare import StoredDataset, prepare_dataset
from oaml_core.data.prepare.shard_merge import prepare_sharded
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from oaml_core.store import open_store
from tests.data_layer.conftest import face

NEVER_READ = Path("/proc/self/mem")
"""A regular file whose first byte nobody can read, not even root, as on a disk with a bad sector."""

pytestmark = pytest.mark.skipif(not NEVER_READ.is_file(), reason="wants a system with /proc/self/mem")


def whole(config: Config) -> StoredDataset:
    return prepare_dataset(config, open_store(config.store))


def in_shards(config: Config) -> StoredDataset:
    return prepare_sharded(config, open_store(config.store), 2)


@pytest.mark.parametrize("prepare", [whole, in_shards])
def test_an_image_that_cannot_be_read_is_set_aside(
    image_folder: Path, tmp_path: Path, config: Callable[..., Config], prepare: Callable[[Config], StoredDataset]
) -> None:
    bad = image_folder / "person1" / "2.jpg"
    bad.unlink()
    bad.symlink_to(NEVER_READ)
    made = prepare(config(image_folder, broken_images_tolerated=0.5))
    assert (made.manifest.images, made.manifest.set_aside) == (11, 1)
    checks = fetch_prepared(made.uri, tmp_path / "fetched").directory / "checks.json"
    assert "person1/2.jpg" in str(json.loads(checks.read_text())["set_aside"])
    with pytest.raises(DataError, match="broken_images_tolerated"):
        prepare(config(image_folder))
    bad.unlink()
    bad.write_bytes(encode_jpeg(face(12)))
    mended = prepare(config(image_folder))
    assert (mended.manifest.images, mended.reused) == (12, False)


def test_a_record_file_that_cannot_be_read_is_named(recordio: Path, config: Callable[..., Config]) -> None:
    records = recordio / "train.rec"
    records.unlink()
    records.symlink_to(NEVER_READ)
    with pytest.raises(DataError, match=r"train\.rec"):
        whole(config(recordio))
