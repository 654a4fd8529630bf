"""Packages of images by hash: complete, of the versions that CI ran with, and told where something is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from components.steps import IMAGES
from images import locked
from images.locked import OF_TORCH, constrained, lock, needed
from oaml_core.errors import ImageError

REPO = Path(__file__).parents[2]
ENTRY = re.compile(r"([a-z0-9-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")


def entries(component: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package."""
    text = (REPO / "images" / component / "locked.txt").read_text()
    lines = [line for line in text.replace(" \\\n   ", "").splitlines() if not line.startswith("#")]
    found = [ENTRY.fullmatch(line) for line in lines]
    assert all(found)
    return {match[1]: (match[2], match[3].count("--hash")) for match in found if match}


@pytest.mark.parametrize("component", IMAGES)
def test_every_package_of_an_image_is_named_by_version_and_hash(component: str) -> None:
    named, pinned = entries(component), constrained()
    assert set(named) == needed(component), "run `make lock-images`"
    assert {name: version for name, (version, _) in named.items()} == {name: pinned[name] for name in named}
    assert max(count for _, count in named.values()) <= len(locked.PYTHONS)


def test_torch_of_another_index_is_named_by_version_alone_and_brings_no_packages_for_gpus() -> None:
    with_cuda = {name for name in IMAGES if set(entries(name)) >= OF_TORCH}
    without = {name for name in IMAGES if (REPO / "images" / name / "torch.txt").exists()}
    assert with_cuda == {"train"}
    assert any(name.startswith("nvidia-") for name in entries("train"))
    for component in without:
        assert "sympy" in entries(component)  # which torch needs
        assert not [name for name in entries(component) if name.startswith(("nvidia-", "cuda-", "triton", "torch="))]


def test_images_install_what_is_named_and_nothing_else() -> None:
    text = (REPO / "images" / "Dockerfile").read_text()
    installed = re.findall(r"pip \S+ \S+ (install|check)(.*)", text)
    assert installed[0][0] == "install"
    assert "--require-hashes --no-deps -r locked.txt" in installed[0][1]
    assert all("--no-deps" in words for what, words in installed if what == "install")
    assert "check" in [what for what, _ in installed]  # nothing that is needed was left out


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one image, of a package that needs nothing."""
    (tmp_path / "constraints.txt").write_text("certifi==1.2\nIDNA==3.4\n")
    (tmp_path / "images" / "promote").mkdir(parents=True)
    (tmp_path / "images" / "promote" / "requirements.txt").write_text("idna\n")
    return tmp_path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Hashes that the report of pip tells, by package and Python."""
    files = {"idna": {python: f"{n:064x}" for n, python in enumerate(locked.PYTHONS)}}

    def answer(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        python = command[command.index("--python-version") + 1]
        lines = Path(command[command.index("-r") + 1]).read_text().splitlines()
        install = []
        for name, _, version in (line.partition("==") for line in lines):
            if python not in files[name]:
                text = f"WARNING: one\nERROR: No matching distribution found for {name}=={version}\n"
                return subprocess.CompletedProcess(command, 1, "", text)
            hashes = {"hashes": {"sha256": files[name][python]}} if files[name][python] else {}
            install.append({"metadata": {"name": name.upper()}, "download_info": {"archive_info": hashes}})
        Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": install}))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(locked.subprocess, "run", answer)
    return files


def test_files_of_every_python_are_named_once(repo: Path, index: dict[str, dict[str, str]]) -> None:
    index["idna"]["3.13"] = index["idna"]["3.12"]
    assert lock(["promote"], repo) == {"promote": 1}
    hashes = " \\\n    ".join(f"--hash=sha256:{n:064x}" for n in range(2))
    text = (repo / "images" / "promote" / "locked.txt").read_text()
    assert text == f"# Written by `make lock-images`.\nidna==3.4 \\\n    {hashes}\n"


@pytest.mark.parametrize(
    ("wanted", "files", "said"),
    [
        ("requests", {}, r"no version of charset-normalizer, requests, urllib3"),
        ("no-such-package", {}, "no-such-package goes into an image, and is not installed"),
        ("idna", {"3.12": ""}, "no SHA-256 of idna"),
        ("idna", {"3.11": "0" * 64}, r"Python 3\.12: ERROR: No matching distribution found for idna==3\.4"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    wanted: str, files: dict[str, str], said: str, repo: Path, index: dict[str, dict[str, str]]
) -> None:
    index["idna"] = files if len(files) != 1 or "" not in files.values() else {**index["idna"], **files}
    (repo / "images" / "promote" / "requirements.txt").write_text(f"{wanted}\n")
    with pytest.raises(ImageError, match=said):
        lock(["promote"], repo)
    assert not (repo / "images" / "promote" / "locked.txt").exists()


def test_a_mistyped_component_is_answered() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "images.locked", "promte"], capture_output=True, text=True, cwd=REPO, check=False
    )
    assert done.returncode == ImageError.exit_code
    assert done.stderr == "oaml: There is no image 'promte'. Did you mean 'promote'?\n"
