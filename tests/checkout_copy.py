"""A copy of parts of the checkout, and the files in which it differs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
GUIDE = (REPO / "docs" / "extending.md").read_text()


class CheckoutCopy:
    """Files and folders of the checkout, copied to `folder`."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.names = folder, names
        for name in names:
            if (REPO / name).is_dir():
                shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPO / name, folder / name)

    def append(self, name: str, text: str) -> None:
        """Write `text` below what the file `name` holds; a file that is not there is made."""
        with (self.folder / name).open("a") as file:
            file.write(f"\n{text}")

    def changed(self) -> set[str]:
        """Return paths of the files that are not as in the checkout."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        names = {path.relative_to(self.folder) for path in found}
        return {str(name) for name in names if not self._is_equal(name)}

    def _is_equal(self, name: Path) -> bool:
        original = REPO / name
        return original.is_file() and original.read_bytes() == (self.folder / name).read_bytes()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy, which hides the checkout's own modules of the same names."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(self.folder), str(REPO)))}
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
