"""`python -m images.build`: build the images whose inputs have changed, tagged by what went into them; push them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from components.images import LOCK, REGISTRY, read_lock
from components.steps import IMAGES
from oaml_core.errors import ImageError, nearest
from oaml_core.orderly_end import end_in_order

REPO = Path(__file__).parents[1]
BASE = "docker.io/library/python:3.11-slim-bookworm"
DOCKERFILE = "images/Dockerfile"
SHARED = (
    *(DOCKERFILE, "constraints.txt", "pyproject.toml", "LICENSE", "oaml_core"),
    *("components/__init__.py", "components/cluster.py", "components/images.py", "components/pods.py"),
    "components/steps.py",
)
"""What goes into every image."""


class Builder(NamedTuple):
    """A program that builds images, and how it is called."""

    build: tuple[str, ...]
    exists: tuple[str, ...]
    tag: tuple[str, ...]
    push: tuple[str, ...]


BUILDERS = {
    "docker": Builder(
        ("docker", "buildx", "build", "--load"),
        ("docker", "image", "inspect"),
        ("docker", "image", "tag"),
        ("docker", "image", "push"),
    ),
    "podman": Builder(
        ("podman", "build", "--format", "oci"), ("podman", "image", "exists"), ("podman", "tag"), ("podman", "push")
    ),
    "buildah": Builder(
        ("buildah", "build", "--format", "oci", "--layers"),
        ("buildah", "inspect"),
        ("buildah", "tag"),
        ("buildah", "push"),
    ),
}
READY = {"docker": ("docker", "buildx", "inspect"), "podman": ("podman", "info"), "buildah": ("buildah", "info")}
"""Calls that succeed where a builder works: a docker client alone does not."""


def content_tag(component: str, base: str = BASE, repo: Path = REPO) -> str:
    """Return the tag of `component`'s image: 16 hexadecimal digits of the SHA-256 of all that goes into it."""
    digest = hashlib.sha256(base.encode())
    for path in inputs(component, repo):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(repo).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def inputs(component: str, repo: Path = REPO) -> Iterator[Path]:
    """Files that go into the image, in a fixed order.

    Raises:
        ImageError: one of them is missing.
    """
    for name in (*SHARED, f"components/{component}", f"images/{component}"):
        top = repo / name
        if not top.exists():
            raise ImageError(f"{name} is missing, and goes into the image of {component}.")
        found = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        yield from (path for path in found if "__pycache__" not in path.parts)


def builder() -> Builder:
    """Return the first builder that works here; OAML_IMAGE_BUILDER names another one.

    Raises:
        ImageError: there is none.
    """
    wanted = os.environ.get("OAML_IMAGE_BUILDER")
    for name in (wanted,) if wanted else BUILDERS:
        if name in BUILDERS and shutil.which(name) and _succeeds(READY[name]):
            return BUILDERS[name]
    raise ImageError(
        "No builder of images works here: install podman or buildah (on Debian: apt-get install podman), or start "
        "docker with buildx. OAML_IMAGE_BUILDER chooses among docker, podman and buildah."
    )


def build(components: Sequence[str], base: str, extra: Sequence[str], lock: Path = LOCK) -> dict[str, str]:
    """Build what is not there yet; the tag of every component, also written to `lock`.

    Raises:
        ImageError: there is no builder, or a build failed; what was built before it stands in `lock`.
    """
    program, tags = builder(), read_lock(lock)
    for component in components:
        tag = content_tag(component, base)
        reference = f"{REGISTRY}/{component}:{tag}"
        if tags.get(component) == tag and _succeeds((*program.exists, reference)):
            print(f"unchanged  {reference}", flush=True)
            continue
        _build_one(program, component, reference, base, extra)
        tags[component] = tag
        write_lock(lock, tags)
        print(f"built      {reference}", flush=True)
    return tags


def push(registry: str, lock: Path = LOCK) -> list[str]:
    """Push what `lock` says was built to `registry`; the references there.

    Raises:
        ImageError: nothing was built, or the registry refuses.
    """
    program, tags, pushed = builder(), read_lock(lock), []
    if not tags:
        raise ImageError(f"{lock} names no image: make build-images builds them.")
    for component, tag in sorted(tags.items()):
        here, there = f"{REGISTRY}/{component}:{tag}", f"{registry.rstrip('/')}/{component}:{tag}"
        for command in ((*program.tag, here, there), (*program.push, there)):
            if subprocess.run(command, check=False).returncode:
                raise ImageError(
                    f"{shlex.join(command)} failed: its reason stands above. Log in to the registry (`podman login`, "
                    "`docker login`), or build the images first."
                )
        pushed.append(there)
    return pushed


def write_lock(lock: Path, tags: Mapping[str, str]) -> None:
    """Write the tags; the file is whole or the old one."""
    temporary = lock.with_suffix(".tmp")
    temporary.write_text(json.dumps(dict(tags), indent=1, sort_keys=True) + "\n")
    temporary.replace(lock)


def _build_one(program: Builder, component: str, reference: str, base: str, extra: Sequence[str]) -> None:
    command = [
        *program.build,
        *("--build-arg", f"BASE={base}", "--build-arg", f"COMPONENT={component}"),
        *("--build-arg", f"REVISION={reference.rpartition(':')[2]}"),
        *("--tag", reference, "--file", str(REPO / DOCKERFILE), *extra, str(REPO)),
    ]
    if subprocess.run(command, check=False).returncode:
        raise ImageError(f"The image of {component} could not be built: the reason stands above.")


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def known(components: Sequence[str]) -> Sequence[str]:
    """Return the names of components, all of which have an image.

    Raises:
        ImageError: one has none.
    """
    for name in components:
        if name not in IMAGES:
            raise ImageError(f"There is no image {name!r}.{nearest(name, IMAGES)}")
    return components


def main(arguments: Sequence[str] | None = None) -> None:
    """Build or push as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m images.build", description=__doc__)
    parser.add_argument("components", nargs="*", help=f"of {', '.join(IMAGES)}; default: all")
    parser.add_argument("--base", default=BASE, help=f"base image; default: {BASE}")
    parser.add_argument("--build-args", default="", help="further options of the builder, as one string")
    parser.add_argument("--push", metavar="REGISTRY", help="push what was built to this registry instead")
    given = parser.parse_args(arguments)
    try:
        if given.push:
            print("\n".join(push(given.push)))
        else:
            build(known(given.components) or IMAGES, given.base, shlex.split(given.build_args))
    except ImageError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    end_in_order(main)
