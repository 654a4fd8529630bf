"""`python -m images.debian_base`: a base image made from Debian's packages, where no registry can be reached."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from images.build import builder
from oaml_core.errors import ImageError
from oaml_core.orderly_end import end_in_order

NAME = "localhost/oaml/base:bookworm"
SUITE = "bookworm"
"""Debian 12, whose Python is 3.11."""
PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
DOCKERFILE = 'FROM scratch\nADD root.tar /\nCMD ["python3"]\n'


def make_base(mirror: str | None = None) -> str:
    """Make the base image and give its name.

    Args:
        mirror: where Debian's packages are; None: debootstrap's own choice.

    Raises:
        ImageError: debootstrap is missing or may not work here, there is no builder, or one of them failed.
    """
    program = builder()
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise ImageError(
            "A base image from Debian's packages wants root and debootstrap (apt-get install debootstrap)."
        )
    with tempfile.TemporaryDirectory(prefix="oaml-base-") as folder:
        root, context = Path(folder) / "root", Path(folder) / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(DOCKERFILE)
        words = [f"--include={','.join(PACKAGES)}", SUITE, str(root), *([mirror] if mirror else [])]
        try:
            _run("debootstrap", "--variant=minbase", *words)
        finally:  # where it stops halfway, the machine's /proc would stay in the folder that is removed
            if os.path.ismount(root / "proc"):
                _run("umount", str(root / "proc"))
        _run("tar", "-C", str(root), "--exclude=./var/cache/apt", "-cf", str(context / "root.tar"), ".")
        _run(*program.build, "--tag", NAME, str(context))
    return NAME


def _run(*command: str) -> None:
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise ImageError(f"{command[0]} failed: its reason stands above.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the base image as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m images.debian_base", description=__doc__)
    parser.add_argument("--mirror", help="where Debian's packages are; default: debootstrap's own choice")
    try:
        print(make_base(parser.parse_args(arguments).mirror))
    except ImageError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    end_in_order(main)
