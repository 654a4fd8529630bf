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
    assert [path.name.rpartition("-")[0] for path in folder.iterdir()] == ["oaml-object"]
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    store = open_store(str(tmp_path / "store"))
    store.write_bytes("key", b"content")
    assert store.read_bytes("key") == b"content"
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_leaves_goes_with_a_command_that_makes_no_folder(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    dies = "import os\nfrom oaml_core.store.traffic import metered\nwith metered(): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", dies], env=environment, timeout=60, check=False)
    assert [path.name.rpartition("-")[0] for path in tmp_path.iterdir()] == ["oaml-traffic"]
    command = [sys.executable, "-m", "oaml_core.cli", "store", "ls", "--store", str(tmp_path / "store")]
    subprocess.run(command, env=environment, timeout=60, check=False)  # 1: there is no such store
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("oaml-")] == []


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
