"""`oaml store …` as a person meets it, on both kinds of store."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pytest

from oaml_core.cli import main
from oaml_core.store import Store


@pytest.fixture
def oaml(store: Store, capsys: pytest.CaptureFixture[str]):
    """Run `oaml store …`; exit status and what was printed."""

    def run(*words: str, uri: str = store.uri) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["store", *words, "--store", uri])
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    return run


def test_a_tree_goes_up_and_comes_down(oaml, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.txt").write_text("1")
    (tmp_path / "in" / "b.txt").write_text("22")
    assert oaml("put", str(tmp_path / "in"), "tree/")[0] == 0
    code, listing = oaml("ls", "tree/")
    assert code == 0
    assert [line.split()[-1] for line in listing.splitlines()[:2]] == ["tree/b.txt", "tree/deep/a.txt"]
    assert "3  bytes in 2 objects" in listing
    assert oaml("get", "tree", str(tmp_path / "out"))[0] == 0
    assert (tmp_path / "out" / "deep" / "a.txt").read_text() == "1"
    assert oaml("get", "tree/b.txt", str(tmp_path / "out" / "deep"))[0] == 0
    assert (tmp_path / "out" / "deep" / "b.txt").read_text() == "22"


def test_damage_is_listed_and_told_by_the_exit_status(oaml, store: Store, root: Path) -> None:
    store.write_bytes("a/fine", b"1")
    assert oaml("verify") == (0, "1 intact, 0 damaged, 0 put by others, of which no sum is known\n")
    store.write_bytes("a/bad", b"12")
    (root / "a" / "bad").write_bytes(b"21")
    code, shown = oaml("verify", "a/")
    assert code == 1
    assert f"damaged  {store.url('a/bad')}\n1 intact, 1 damaged" in shown


def test_a_link_opens(oaml, store: Store) -> None:
    store.write_bytes("report.html", b"<p>")
    link = oaml("link", "report.html", "--hours", "1")[1].strip()
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"<p>"


def test_garbage_is_only_listed_until_asked(oaml, store: Store) -> None:
    store.write_bytes("runs/old/best.ckpt", b"123")
    code, shown = oaml("gc", "--young_days", "-1")
    assert (code, "garbage  runs/old/best.ckpt" in shown) == (0, True)
    assert "1 object, 3 bytes" in shown
    assert store.exists("runs/old/best.ckpt")
    assert oaml("pin", "old")[0] == 0
    assert "kept     runs/old: pinned" in oaml("gc", "--young_days", "-1", "--delete")[1]
    assert oaml("unpin", "old")[0] == 0
    assert oaml("gc", "--young_days", "-1", "--delete")[0] == 0
    assert not store.exists("runs/old/best.ckpt")


@pytest.mark.parametrize("words", [("get",), ("put", "a"), ("pin",), ("gc", "x"), ("link", "a", "b")])
def test_operands_that_are_missing_or_too_many_are_explained(oaml, words: tuple[str, ...]) -> None:
    code, shown = oaml(*words)
    assert code == 2
    assert f"It reads: oaml store {words[0]}" in shown


@pytest.mark.parametrize("words", [("get", "no/such", "x"), ("verify", "no/such/")])
def test_missing_objects_are_an_error(oaml, store: Store, words: tuple[str, ...]) -> None:
    store.write_bytes("a", b"1")
    code, shown = oaml(*words)
    assert code == 1
    assert f"nothing below {store.url('no/such')}." in shown


@pytest.mark.parametrize("words", [("ls",), ("verify",), ("get", "a"), ("gc",)])
def test_a_mistyped_store_is_an_error(oaml, kind: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, shown = oaml(*words, uri="s3://mistyped/x" if kind == "s3" else str(tmp_path / "mistyped"))
    assert code == 1
    assert "is the address right?" in shown


def test_put_refuses_what_is_no_file_and_never_waits(oaml, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "nothing"):
        code, said = oaml("put", str(path), "key")
        assert code == 1
        assert str(path) in said
        assert "Traceback" not in said


def test_links_out_of_a_folder_are_put_on_request_alone(oaml, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "in" / "a.txt").write_text("1")
    (tmp_path / "in" / "same.txt").symlink_to("a.txt")
    (tmp_path / "in" / "out.txt").symlink_to(tmp_path / "outside")
    assert oaml("put", str(tmp_path / "in"), "tree")[0] == 0
    assert [line.split()[-1] for line in oaml("ls", "tree/")[1].splitlines()[:-1]] == ["tree/a.txt", "tree/same.txt"]
    assert oaml("put", str(tmp_path / "in"), "tree", "--follow_links")[0] == 0
    assert "tree/out.txt" in oaml("ls", "tree/")[1]


def test_keys_cannot_forge_lines(oaml, store: Store) -> None:
    store.write_bytes("a\n 1  bytes in 0 objects", b"x")
    listing = oaml("ls")[1]
    assert len(listing.splitlines()) == 2
    assert "a\\n" in listing


def test_a_file_is_no_store(oaml, tmp_path: Path) -> None:
    """Listed as an empty one it would hide a mistyped address."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"x")
    for words in (("ls",), ("verify",), ("put", str(file), "a")):
        code, shown = oaml(*words, uri=str(file))
        assert code != 0
        assert "model.onnx is a file; a store is a folder" in shown
