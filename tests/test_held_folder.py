"""Folders for temporary files name who made them: those of killed processes go."""

import ast
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import oaml_core
from oaml_core.held_folder import held_folder
from oaml_core.store import open_store

READS = """
import os, signal, sys
from pathlib import Path
from oaml_core.store.folder import FolderStore
FolderStore._get = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
FolderStore(Path(sys.argv[1])).read_bytes("key")
"""


def test_what_a_killed_reader_leaves_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    done = subprocess.run([sys.executable, "-c", READS, str(tmp_path / "store")], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[:12] for path in folder.iterdir()] == ["oaml-object-"]
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    store = open_store(str(tmp_path / "store"))
    store.write_bytes("key", b"content")
    assert store.read_bytes("key") == b"content"
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_leaves_goes_with_a_command_that_makes_no_folder(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    dies = "import os\nfrom oaml_core.store.traffic import metered\nwith metered(): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", dies], env=environment, timeout=60, check=False)
    assert [path.name[:13] for path in tmp_path.iterdir()] == ["oaml-traffic-"]
    command = [sys.executable, "-m", "oaml_core.cli", "store", "ls", "--store", str(tmp_path / "store")]
    subprocess.run(command, env=environment, timeout=60, check=False)  # 1: there is no such store
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("oaml-")] == []


DIES = """
import os, resource, shutil, tempfile
from pathlib import Path
from oaml_core.held_folder import held_folder
make, place = Path.mkdir, tempfile.gettempdir()
def dies(*_, **__): os.kill(os.getpid(), 9)
"""
MOMENTS = {
    "it is made": "Path.mkdir = lambda *some: (make(*some), dies())\nwith held_folder('oaml-x-'): pass",
    "its content is removed": "shutil.rmtree = lambda path, **_: dies()\nwith held_folder('oaml-x-'): pass",
    "the disk is full": """resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
with held_folder('oaml-x-'): dies()""",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_may_be_killed_at_any_moment(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_a_killed_process(tmp_path, MOMENTS[moment])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with held_folder("oaml-x-") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def left_by_a_killed_process(folder: Path, then: str) -> Path:
    """What a process leaves in the folder for temporary files."""
    environment = os.environ | {"TMPDIR": str(folder)}
    subprocess.run([sys.executable, "-c", DIES + then], env=environment, timeout=60, check=False)
    (left,) = folder.iterdir()
    return left


def test_no_name_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = set()
    for _ in range(3):
        with held_folder("oaml-x-") as folder, held_folder("oaml-x-") as other:
            names |= {folder, other}
    assert len(names) == 6


def test_folders_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = left_by_a_killed_process(tmp_path, MOMENTS["the disk is full"])
    elsewhere = ended.rename(ended.with_name(ended.name.replace("oaml-x-", "oaml-x-AAAA")[:22] + "-0"))
    nobodys = tmp_path / "oaml-x-abcdefgh"
    nobodys.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    works = "with held_folder('oaml-x-'): print(flush=True); input()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", DIES + works]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as working:
        assert working.stdout is not None
        assert working.stdout.readline()
        (of_the_working,) = {*tmp_path.iterdir()} - {elsewhere, nobodys}
        with held_folder("oaml-x-") as folder:
            assert {*tmp_path.iterdir()} == {folder, of_the_working, elsewhere, nobodys}
        working.communicate(b"\n", timeout=60)
    assert {*tmp_path.iterdir()} == {elsewhere, nobodys}


@pytest.mark.parametrize("kind", ["fifo", "link", "file"])
def test_what_others_put_under_such_a_name_stays_and_holds_nobody_up(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder for temporary files is everybody's."""
    place = left_by_a_killed_process(tmp_path, MOMENTS["the disk is full"])
    place.rmdir()
    kept = tmp_path / "kept" / "file"
    kept.parent.mkdir()
    kept.touch()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(kept.parent)
    else:
        place.touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with held_folder("oaml-x-") as folder:
        assert folder.is_dir()
    assert place.is_symlink() or place.exists()
    assert kept.exists()


def test_every_temporary_folder_names_its_process() -> None:
    nameless = []
    packages = Path(oaml_core.__file__).parents[1]
    for path in (path for name in ("oaml_core", "components", "pipelines") for path in (packages / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if getattr(called, "attr", getattr(called, "id", "")) in ("TemporaryDirectory", "mkdtemp"):
                beside = any(keyword.arg == "dir" for keyword in node.keywords)
                if not beside and path.name != "held_folder.py":
                    nameless.append(f"{path}:{node.lineno}")
    assert not nameless, "use held_folder, which removes what killed processes left"
