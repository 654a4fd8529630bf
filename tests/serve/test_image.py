"""The image of the service has what the service needs: it answers with nothing but the packages of its requirements."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path

REPO = Path(__file__).parents[2]
RESTRICTED = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in {names!r} else self.finder.find_spec(name, *rest)
sys.meta_path[:] = map(Without, sys.meta_path)
from oaml_core.cli import main
main({words!r})
"""


def brought() -> set[str]:
    """Distributions that `pip install -r` brings, by normalised name."""
    lines = (REPO / "images" / "serve" / "requirements.txt").read_text().split()
    left, found = [re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", line).groups() for line in lines], set()  # type: ignore[union-attr]
    while left:
        name, extras = left.pop()
        if (key := normalised(name)) in found and not extras:
            continue
        found.add(key)
        for one in metadata.requires(name) or []:
            words, _, condition = one.partition(";")
            wanted = re.findall(r"extra == ['\"]([\w-]+)['\"]", condition)
            if not wanted or set(wanted) & set((extras or "").split(",")):
                needed = re.match(r"([\w.-]+)", words.strip())
                if needed and is_installed(needed[1]):
                    left.append((needed[1], None))
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_the_service_starts_and_searches_with_the_packages_of_its_image_alone(exported: Path, tmp_path: Path) -> None:
    there = brought()
    absent = {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {normalised(owner) for owner in owners} & (there | {"oaml"})
    }
    assert {"torch", "kfp", "scipy", "lightning"} <= absent
    words = ["serve", "--onnx", str(exported), "--gallery", str(tmp_path / "g"), "--port", "0", "--threads", "1"]
    command = [sys.executable, "-c", RESTRICTED.format(names=absent, words=words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("model ")
            address, _, key = process.stdout.readline().strip().partition("#key=")
            asked = urllib.request.Request(f"{address}api/v1/gallery/people", headers={"X-API-Key": key})
            assert json.load(urllib.request.urlopen(asked, timeout=60)) == []
            assert json.load(urllib.request.urlopen(f"{address}v2/health/ready", timeout=60)) == {"ready": True}
        finally:
            process.kill()
