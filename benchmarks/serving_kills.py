"""A process that is killed while it changes a gallery, again and again: is what it acknowledged there, and no more?

The process tells each change by a pipe once the gallery has returned from it. The parent kills it at a random moment,
opens the gallery anew, and compares.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oaml_core.inference.comparer import GlobalOnly
from oaml_core.inference.gallery.copies import export_gallery, verify_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.rebuild import encode_face, rebuild
from oaml_core.inference.records import FaceRecords

Tell = Callable[[str], None]
FIELD = b"\n"


class Drawn(GlobalOnly):
    """A recogniser of a few lines; two of different seeds are two models.

    Args:
        seed: of its projection, and its version.
    """

    image_size = 16

    def __init__(self, seed: int) -> None:
        self.version = f"model{seed}"
        self._projection = np.random.default_rng(seed).standard_normal((768, 64)).astype(np.float32)

    def records(self, images: np.ndarray) -> FaceRecords:
        """Describe images [n, 16, 16, 3]."""
        embedding = (images.reshape(len(images), -1) / 128 - 1).astype(np.float32) @ self._projection
        embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
        count = len(images)
        local = images[:, ::4, ::4].transpose(0, 3, 1, 2).astype(np.float32)
        return FaceRecords(embedding, np.ones((count, 1, 4, 4), np.float32), local)


def change_for_ever(path: Path, life: int, tell: Tell) -> None:
    """Enrol, delete, copy and rebuild until somebody ends the process."""
    generator = np.random.default_rng(life)
    gallery = Gallery(path)
    number = 0
    while True:
        name = f"life{life:05d}person{number:05d}."
        face = generator.integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
        model = Drawn(int(gallery.model.removeprefix("model")))
        gallery.add(name, model.records(face), source="", digest=name, image=encode_face(face[0]))
        tell(f"add {name}")
        if number % 2:
            gone = f"life{life:05d}person{number - 1:05d}."
            tell(f"may go {gone}")
            gallery.remove_person(gone)
            tell(f"gone {gone}")
        if number % 7 == 6:
            copy = path.with_name("copy")
            copy.unlink(missing_ok=True)
            export_gallery(gallery, copy)
        if number % 5 == 4:
            coming = Drawn(1 - int(gallery.model.removeprefix("model")))
            tell(f"may be {coming.version}")
            rebuild(gallery, coming, coming.version, None)
            tell(f"is {coming.version}")
        number += 1


def kill_once(path: Path, life: int, seconds: float, there: set[str], gone: set[str]) -> list[str]:
    """Let a process change the gallery for some seconds, kill it, and return what is not as it acknowledged.

    Args:
        path: of the gallery.
        life: number of the process.
        seconds: until it is killed.
        there: names that must be there; what the process adds and deletes is added and taken out.
        gone: names that must be gone, likewise.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            change_for_ever(path, life, lambda text: (os.write(write, text.encode() + FIELD), None)[1])
        finally:
            os._exit(1)
    os.close(write)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        said = [line.decode() for line in pipe.read().split(FIELD) if line]
    maybe = ""
    for text in said:
        what, name = text.rsplit(" ", 1)
        if what == "add":
            there.add(name)
        elif what == "may go":
            there.discard(name)
            maybe = name
        elif what == "gone":
            gone.add(name)
            maybe = ""
    return _compare(path, there, gone, maybe, life)


def _compare(path: Path, there: set[str], gone: set[str], maybe: str, life: int) -> list[str]:
    with Gallery(path) as gallery:
        wrong = verify_gallery(gallery)
        names = {one.name for one in gallery.people()}
    wrong += [f"{name} was acknowledged and is not there" for name in there - names]
    wrong += [f"{name} was deleted and is there" for name in gone & names]
    # What was under way is there as a whole or not at all: one addition or one deletion.
    extra = names - there - {maybe}
    wrong += [f"{name} was never acknowledged" for name in extra if not name.startswith(f"life{life:05d}")]
    wrong += [f"{len(extra)} additions were under way at once"] * (len(extra) > 1)
    there |= names
    gone |= {maybe} - names - {""}
    data = path.read_bytes()
    wrong += [f"{name} was deleted and is in the file's bytes" for name in gone if name.encode() in data]
    return wrong


def kill_many(count: int, seed: int = 0, longest: float = 1.5) -> dict[str, Any]:
    """Kill `count` processes and return a row for the table.

    Args:
        count: of kills.
        seed: of the moments.
        longest: seconds of a process at most.
    """
    generator = np.random.default_rng(seed)
    there: set[str] = set()
    gone: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.gallery"
        Gallery(path, "model0").close()
        wrong = [
            text
            for life in range(count)
            for text in kill_once(path, life, float(generator.uniform(0.02, longest)), there, gone)
        ]
    for text in wrong[:10]:
        print(" ", text)
    return {"kills": count, "people acknowledged": len(there), "people deleted": len(gone), "wrong": len(wrong)}
