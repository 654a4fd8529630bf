"""The last look at every byte: files that change, go or cannot be read meanwhile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from forgetting.conftest import NAME, Planted

from oaml_core.errors import StoreError
from oaml_core.forgetting import sweep as looking
from oaml_core.forgetting.forget import forget
from oaml_core.forgetting.sweep import _look_through
from oaml_core.store.base import ObjectInfo
from oaml_core.store.folder import FolderStore


@pytest.mark.parametrize("before", [0, 1, 9, 10, 11, 95])
def test_a_name_is_found_wherever_pieces_end(before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "CHUNK", 10)
    path, needles = tmp_path / "notes.txt", [NAME.encode(), b"a longer one, which is not there"]
    path.write_bytes(b"." * before + NAME.encode() + b"." * (95 - before))
    assert _look_through(path, needles)[1]
    path.write_bytes(b"." * before + NAME.encode()[:-1] + b"." * (96 - before))
    assert _look_through(path, needles) == (95 + len(NAME), False)


def test_what_goes_meanwhile_holds_nothing(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """As older checkpoints of a training do, while they are searched and at the last look."""
    listed, store = FolderStore.list, Path(planted.store.uri.removeprefix("file://"))
    checkpoint = (store / "runs/first/checkpoints/step-0000000009.ckpt").read_bytes()

    def and_one_that_goes(self: FolderStore, prefix: str = "") -> Iterator[ObjectInfo]:
        for name in ("runs/other/step-0000000001.ckpt", "notes/of-a-moment.txt"):
            self.write_bytes(name, checkpoint if name.endswith(".ckpt") else b"-")
            if name.startswith(prefix):
                yield ObjectInfo(name, 0, "")
            self.delete(name)
        yield from listed(self, prefix)

    monkeypatch.setattr(FolderStore, "list", and_one_that_goes)
    done = forget(planted.case(NAME), apply=True, scan=True)
    assert done.receipt is not None
    assert done.receipt["scan"]["unread"] == []
    assert planted.hits() == {}


def test_what_cannot_be_read_is_told_and_in_the_receipt(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = planted.work / "notes.txt"
    unreadable.write_text("of somebody")
    opened = looking.open_regular

    def refuse(path: Path) -> io.BufferedReader:
        if path == unreadable:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(looking, "open_regular", refuse)
    with pytest.raises(StoreError, match=r"1 file could not be looked through: .*notes\.txt \(Permission denied\)"):
        forget(planted.case(NAME), apply=True, scan=True)
    (receipt,) = (info for info in planted.store.list("forgotten/receipts/") if info.key.endswith(".json"))
    assert len(planted.store.read_json(receipt.key)["scan"]["unread"]) == 1


def test_a_training_that_has_not_ended_is_told(planted: Planted) -> None:
    runs = planted.store.url("runs/first"), str(planted.work / "runs" / "first")
    assert not [each for each in forget(planted.case(NAME)).remains if each.where in runs]
    planted.store.delete("runs/first/result.json")
    told = [each for each in forget(planted.case(NAME)).remains if each.where in runs]
    assert [each.where for each in told] == [runs[0]]
    assert "has not come to its end" in told[0].why
