"""Files of torch.save are read with their checksums, whoever reads them, and never unpacked beyond their size."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from oaml_core.errors import CheckpointError, DataError, OamlError
from oaml_core.models.tensor_archive import load_tensors
from oaml_core.models.weights_file import read_weights_file
from oaml_core.restoration.tiles import read_tile
from oaml_core.training.checkpoints import read_checkpoint

READERS: dict[str, tuple[Callable[[Path], object], type[OamlError], object]] = {
    "checkpoint": (read_checkpoint, CheckpointError, {"config": "", "weights": torch.arange(64.0)}),
    "weights": (read_weights_file, CheckpointError, {"weight": torch.arange(64.0)}),
    "tile": (read_tile, DataError, torch.arange(64.0).reshape(1, 8, 8)),
}


def saved(content: object) -> bytearray:
    data = io.BytesIO()
    torch.save(content, data)
    return bytearray(data.getvalue())


@pytest.mark.parametrize("reader", READERS)
def test_a_flipped_bit_of_a_tensor_is_noticed_by_every_reader(reader: str, tmp_path: Path) -> None:
    read, kind, content = READERS[reader]
    data, path = saved(content), tmp_path / "file.pt"
    path.write_bytes(data)
    read(path)
    data[data.index(torch.arange(64.0).numpy().tobytes()) + 130] ^= 1
    path.write_bytes(data)
    with pytest.raises(kind, match=r"file\.pt"):
        read(path)


@pytest.mark.parametrize("reader", READERS)
def test_an_archive_that_unpacks_to_more_than_it_has_is_refused(reader: str, tmp_path: Path) -> None:
    read, kind, _ = READERS[reader]
    path = tmp_path / "file.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("file/data.pkl", b"\0" * 20_000_000)
        archive.writestr("file/version", b"3\n")
    with pytest.raises(kind, match=r"file\.pt"):
        read(path)
    with pytest.raises(ValueError, match="larger than the file"):
        load_tensors(path)


def test_the_form_before_1_6_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(load_tensors(tmp_path / "old.pt")["a"], torch.ones(3))
