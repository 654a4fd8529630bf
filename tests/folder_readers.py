"""Every part of OAML that reads folders of others, and the kinds of entries that lie in such folders."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from oaml_core.config import Config, DataConfig
from oaml_core.data.augment import cutouts
from oaml_core.data.check.checks import check_source
from oaml_core.data.sources.inputs import open_folders, open_inputs
from oaml_core.errors import DataError
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.forgetting.person import person_of
from oaml_core.inference.identify import gallery_files
from oaml_core.photos import collection
from oaml_core.restoration.apply import pictures_at
from oaml_core.restoration.tiles import read_metadata
from oaml_core.store import open_store


def picture(value: int = 90) -> bytes:
    data = io.BytesIO()
    values = np.random.default_rng(value).integers(0, 255, (112, 112, 4), dtype=np.uint8)
    values[:20, :20, 3] = 0
    Image.fromarray(values).save(data, "PNG")
    return data.getvalue()


def tensor() -> bytes:
    data = io.BytesIO()
    torch.save(torch.zeros(1, 8, 8), data)
    return data.getvalue()


class Reader(NamedTuple):
    """A part of OAML that reads a folder of others."""

    read: Callable[[Path, Path], tuple[set[str], str]]
    """Returns the names that are used, and what is told besides the log."""
    places: tuple[str, ...]
    """Files that make the folder usable; the entries to test lie beside the first."""
    content: Callable[[], bytes] = picture
    leaves: bool = True
    """Whether links that lead out of the folder are followed."""
    any_name: bool = False
    """Whether names are used that are not fit to print."""


def config_of(source: Path | str, work: Path) -> Config:
    data = DataConfig(source=str(source), held_out_share=0, broken_images_tolerated=1.0)
    return Config(data=data, work_dir=str(work))


def data_source(folder: Path, out: Path) -> tuple[set[str], str]:
    config = config_of(folder, out)
    inputs = open_inputs(config, open_folders(config.data, out))
    told = "\n".join([*inputs.leftovers.warnings, *inputs.leftovers.counted])
    names = {inputs.training.name(number) for number in range(len(inputs.training))}
    if inputs.visibility:
        names.update(name for pair in inputs.visibility.pairs for name in (pair.face, pair.mask))
        names.update([*inputs.visibility.faces_alone, *inputs.visibility.masks_alone])
    return names | {Path(pairs.where).relative_to(folder).as_posix() for pairs in inputs.verification}, told


def listed_source(folder: Path, out: Path) -> tuple[set[str], str]:
    """A list that names every entry; an image is used if it can be read."""
    names = sorted({*os.listdir(folder / "anna")} - {"round"})
    rows = "".join(f'"anna/{name}",anna\n' for name in names if name.isprintable())
    (folder / "train.csv").write_text("path,identity\n" + rows)
    report = check_source(str(folder), config_of(folder, out))
    lost = {item.name for item in report.set_aside}
    return {f"anna/{name}" for name in names if name.isprintable() and f"anna/{name}" not in lost}, report.table()


def store_put(folder: Path, out: Path) -> tuple[set[str], str]:
    store = open_store(str(out / "shelf"))
    store.put_tree(folder, "tree")
    return {info.key.removeprefix("tree/") for info in store.list("tree/")}, ""


def store_put_with_links(folder: Path, out: Path) -> tuple[set[str], str]:
    store = open_store(str(out / "shelf"))
    store.put_tree(folder, "tree", leave=True)
    return {info.key.removeprefix("tree/") for info in store.list("tree/")}, ""


def store_list(folder: Path, out: Path) -> tuple[set[str], str]:
    return {info.key for info in open_store(str(folder)).list()}, ""


def photographs(folder: Path, out: Path) -> tuple[set[str], str]:
    names: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "_looked_at", lambda jobs, workers: iter(names.update(job[2] for job in jobs) or ()))
        patch.setattr(collection, "_write_lists", lambda *_: None)
        collection.align_folder(folder, out / "aligned")
    return names, ""


def relative(folder: Path, paths: list[Path]) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in paths}


def tiles(folder: Path, out: Path) -> tuple[set[str], str]:
    entries = [{"id": "0", "file": "one.pt", "split": "train"}, {"id": "1", "file": "odd.pt", "split": "train"}]
    (folder / "metadata.json").write_text(json.dumps(entries))
    try:
        return {entry.file for entry in read_metadata(folder)}, ""
    except DataError as error:
        (folder / "metadata.json").write_text(json.dumps(entries[:1]))
        return {entry.file for entry in read_metadata(folder)}, str(error)


def forgotten(folder: Path, out: Path) -> tuple[set[str], str]:
    person = person_of((), [folder])
    return {
        name for name in os.listdir(folder) if (folder / name).is_file() and digest(folder / name) in person.files
    }, ""


def digest(path: Path) -> str:
    from oaml_core.store.local_file import sha256_of

    return sha256_of(path)


def all_cutouts(folder: Path, out: Path) -> tuple[set[str], str]:
    cutouts.open_cutouts.cache_clear()
    found = cutouts.open_cutouts(folder)
    return relative(folder, [path for paths in found.files.values() for path in paths]), ""


def covered_faces(folder: Path, out: Path) -> tuple[set[str], str]:
    """Faces have no names of files: how many the first person has says whether the odd entry is among them."""
    faces = int((open_faces(folder).people == 0).sum())
    return {"anna/one.png"} | ({"anna/odd.png"} if faces > 2 else set()), ""


READERS = {
    "image folder": Reader(data_source, ("anna/one.png", "berta/one.png")),
    "visibility set": Reader(data_source, ("kept_faces/one.png", "masks/one_mask.png", "anna/one.png")),
    "image list": Reader(listed_source, ("anna/one.png", "berta/one.png")),
    "store put": Reader(store_put, ("one.png",), leaves=False),
    "store put with links": Reader(store_put_with_links, ("one.png",)),
    "store list": Reader(store_list, ("one.png",), leaves=False, any_name=True),
    "photographs": Reader(photographs, ("one.png",)),
    "gallery": Reader(lambda f, _: (relative(f, [path for _, path in gallery_files(f)]), ""), ("anna/one.png",)),
    "restoration": Reader(lambda f, _: (relative(f, pictures_at(f)), ""), ("one.png",)),
    "tiles": Reader(tiles, ("one.pt",), tensor),
    "forget": Reader(forgotten, ("one.png",)),
    "covered faces": Reader(covered_faces, ("anna/one.png", "anna/two.png", "berta/one.png")),
    "cut-outs": Reader(all_cutouts, ("mask/one.png",)),
}


def fifo(path: Path, outside: Path, content: bytes) -> None:
    os.mkfifo(path)


def unix_socket(path: Path, outside: Path, content: bytes) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def dangling(path: Path, outside: Path, content: bytes) -> None:
    path.symlink_to(outside / "nowhere")


def ring(path: Path, outside: Path, content: bytes) -> None:
    path.symlink_to(path.name)


def device(path: Path, outside: Path, content: bytes) -> None:
    path.symlink_to("/dev/zero")


def forged(path: Path, outside: Path, content: bytes) -> None:
    path.with_name(f"a\n2026 WARNING all is well{path.suffix}").write_bytes(content)


def no_text(path: Path, outside: Path, content: bytes) -> None:
    Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff\xfe" + path.suffix.encode())).write_bytes(content)


def terminal_code(path: Path, outside: Path, content: bytes) -> None:
    path.with_name(f"\x1b[2J{path.suffix}").write_bytes(content)


KINDS = {
    "FIFO": fifo,
    "socket": unix_socket,
    "dangling link": dangling,
    "ring of links": ring,
    "link to a device": device,
    "line break": forged,
    "bytes that are no UTF-8": no_text,
    "terminal code": terminal_code,
}
FORGED = ("line break", "bytes that are no UTF-8", "terminal code")


def filled(tmp_path: Path, reader: Reader) -> Path:
    folder = tmp_path / "folder"
    for number, place in enumerate(reader.places):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(reader.content() if reader.content is tensor else picture(number))
    (tmp_path / "outside").mkdir()
    return folder
