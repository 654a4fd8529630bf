"""`python -m images.locked`: name every package of every image by version and hash.

    python -m images.locked [COMPONENT …]

Writes images/<component>/locked.txt: what requirements.txt names and all that this needs in turn, in the versions of
constraints.txt, with the SHA-256 of the files that pip takes on Linux x86-64 under each supported Python. Which
packages are needed is read from the environment that runs this; the hashes come from the index that pip is set up with.
pip's own report names them, and most indices tell them without the files themselves.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components.steps import IMAGES
from images.build import known
from oaml_core.amounts import amount
from oaml_core.errors import ImageError
from oaml_core.orderly_end import end_in_order

REPO = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
GLIBC = 36
"""Minor version of the newest glibc 2 whose wheels are taken: that of the base image."""
OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Tags of before glibc's version was in them, by that version (PEP 600)."""
OF_TORCH = {"torch", "torchvision"}
"""In torch.txt, where a component has it."""
FOR_GPUS = ("nvidia-", "cuda-", "triton")
"""Begin the names of what the wheels of torch with CUDA need, and those without do not."""
Hashes = Mapping[str, Iterable[str]]


def constrained(repo: Path = REPO) -> dict[str, str]:
    """Return the version of each package that constraints.txt names, by normalised name."""
    pins = (line.split("==") for line in (repo / "constraints.txt").read_text().split())
    return {canonicalize_name(name): version for name, version in pins}


def needed(component: str, repo: Path = REPO) -> set[str]:
    """Return the normalised names of all packages that an image gets by hash.

    Raises:
        ImageError: one of them is not installed beside this interpreter, so that nobody can say what it needs.
    """
    folder = repo / "images" / component
    wanted = [Requirement(line) for line in (folder / "requirements.txt").read_text().splitlines()]
    on_cpu = (folder / "torch.txt").exists()
    if on_cpu:
        wanted += [Requirement(name) for name in sorted(OF_TORCH)]
    found: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if on_cpu and name.startswith(FOR_GPUS):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in found:
                found.add((name, extra))
                wanted += _needs(name, extra)
    return {name for name, _ in found} - (OF_TORCH if on_cpu else set())


def _needs(name: str, extra: str) -> Iterator[Requirement]:
    """Yield what a package with an extra, or without any (""), needs under some supported Python on Linux."""
    try:
        lines = distribution(name).requires or ()
    except PackageNotFoundError:
        raise ImageError(
            f"{name} goes into an image, and is not installed here: run `make setup`, or add it to constraints.txt."
        ) from None
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**_linux(python), "extra": extra}) for python in PYTHONS):
            yield requirement


def _linux(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
        "os_name": "posix",
    }


def hashes_of(pins: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the SHA-256 of the files that pip would take, by normalised name.

    Args:
        pins: versions by name.

    Raises:
        ImageError: pip finds one of them nowhere, or its index tells no hash.
    """
    found: dict[str, set[str]] = {name: set() for name in pins}
    for python in PYTHONS:
        for item in _report(pins, python)["install"]:
            name = canonicalize_name(item["metadata"]["name"])
            told = item["download_info"].get("archive_info", {}).get("hashes", {})
            if "sha256" not in told:
                raise ImageError(f"The index tells no SHA-256 of {name}: set pip up with one that does, as PyPI.")
            found[name].add(told["sha256"])
    return found


def _report(pins: Mapping[str, str], python: str) -> dict[str, Any]:
    """pip's report of what it would install under a Python (https://pip.pypa.io/en/stable/reference/installation-report/)."""
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder, "pinned.txt"), Path(folder, "report.json")
        listed.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())))
        tag = f"cp{python.replace('.', '')}"
        options = ["--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--python-version", python]
        options += ["--implementation", "cp", "--abi", tag, "--abi", "abi3", "--abi", "none", "--target", folder]
        options += [word for platform in platforms() for word in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "install", *options, "--report", str(report), "-r", str(listed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
            raise ImageError(f"pip finds not all packages for Python {python}: {said[-1]}")
        content: dict[str, Any] = json.loads(report.read_text())
        return content


def platforms() -> list[str]:
    """Return the platform tags of Linux on x86-64, the newest first, as pip orders them there (PEP 600)."""
    tags = []
    for minor in range(GLIBC, 4, -1):
        tags.append(f"manylinux_2_{minor}_x86_64")
        if minor in OLD_NAMES:
            tags.append(f"{OLD_NAMES[minor]}_x86_64")
    return [*tags, "linux_x86_64"]


def text_of(names: Iterable[str], pins: Mapping[str, str], hashes: Hashes) -> str:
    """Return the content of a locked.txt, in pip's format for requirements with hashes."""
    lines = ["# Written by `make lock-images`."]
    for name in sorted(names):
        lines.append(" \\\n    ".join([f"{name}=={pins[name]}", *(f"--hash=sha256:{h}" for h in sorted(hashes[name]))]))
    return "\n".join(lines) + "\n"


def lock(components: Sequence[str] = IMAGES, repo: Path = REPO) -> dict[str, int]:
    """Write locked.txt of these components; all of them or, where a hash is missing, none.

    Returns:
        Number of packages by component.

    Raises:
        ImageError: a package is not installed, is not in constraints.txt, or has no hash.
    """
    versions, names = constrained(repo), {component: needed(component, repo) for component in components}
    every = set().union(*names.values())
    if missing := sorted(every - versions.keys()):
        raise ImageError(f"constraints.txt names no version of {', '.join(missing)}, which images need: add one.")
    pins = {name: versions[name] for name in every}
    hashes = hashes_of(pins)
    for component, its in names.items():
        (repo / "images" / component / "locked.txt").write_text(text_of(its, pins, hashes))
    return {component: len(its) for component, its in names.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, and say how many packages each names."""
    parser = argparse.ArgumentParser(prog="python -m images.locked", description=__doc__)
    parser.add_argument("components", nargs="*", help=f"of {', '.join(IMAGES)}; default: all")
    given = parser.parse_args(arguments)
    try:
        for component, count in lock(known(given.components) or IMAGES).items():
            print(f"images/{component}/locked.txt: {amount(count, 'package')}")
    except ImageError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    end_in_order(main)
