"""A prepared data set: one layout whatever it was made from.

    manifest.json                     written last; names every file with its SHA-256
    checks.json                       what was looked at and what was set aside
    train/part-00000.rec …            the images as they were encoded
    train/labels.npy, parts.npy, offsets.npy, sizes.npy, sources.npy, landmarks.npy
    verification/<name>.dat, <name>.dat.conf, <name>_list.npy, <name>_landmarks.npy, <name>_identities.npy,
                 <name>_people.json
    visibility/part-00000.rec …, parts.npy, offsets.npy, sizes.npy, validation.npy

Where `streamed.json` lies beside the manifest, training parts may be missing: their images come from the store then.

In a store the files lie under `datasets/files/<SHA-256>`, each content once, and
`datasets/<fingerprint>/manifest.json` says which make up a data set.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from oaml_core.config import Config
from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.fetched_files import (
    bring,
    bytes_of,
    is_part,
    is_there,
    note_store,
    noted_store,
    part_number,
    room_on_disk,
)
from oaml_core.data.prepared.manifest import MANIFEST, Manifest, parse_manifest
from oaml_core.data.prepared.streamed_parts import StreamedParts
from oaml_core.data.prepared.verification import VerificationSet, open_verification
from oaml_core.data.prepared.visibility_set import VisibilityDataset
from oaml_core.errors import DataError
from oaml_core.whole_file import written_whole

log = logging.getLogger(__name__)
DATASETS = "datasets"
TRANSFERS = 4
"""Files that are fetched at a time."""


@dataclass(frozen=True)
class PreparedDataset:
    """An opened data set; everything in it is read-only."""

    directory: Path
    manifest: Manifest
    train: FaceDataset
    verification: dict[str, VerificationSet]
    visibility: VisibilityDataset | None

    @property
    def bytes_to_come(self) -> int:
        """Return the bytes of training parts that are not here yet; 0 for a data set that was copied."""
        return bytes_of(file for file in self.manifest.files if not is_there(self.directory, file))


def manifest_key(fingerprint: str) -> str:
    """Key of a data set's manifest in a store."""
    return f"{DATASETS}/{fingerprint}/{MANIFEST}"


def dataset_folder(config: Config, fingerprint: str) -> Path:
    """Return the local folder of a prepared data set: a cache of what is in the store."""
    return Path(config.work_dir) / DATASETS / fingerprint


def open_prepared(directory: Path) -> PreparedDataset:
    """Open a data set that `fetch_prepared` put there; takes a fraction of a second whatever its size.

    Raises:
        DataError: there is no complete data set there, or a file has another size than the manifest says.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise DataError(f"{directory} holds no complete data set (no {MANIFEST}): run `oaml prepare`.")
    manifest = parse_manifest(path.read_bytes(), str(path))
    streamed = _streamed_parts(directory, manifest)
    needed = [file for file in manifest.files if streamed is None or not is_part(file)]
    damaged = [file.path for file in needed if not is_there(directory, file)]
    if damaged:
        raise DataError(f"{directory} lacks {damaged[0]}, or it is cut off; remove the folder and fetch it again.")
    visibility = directory / "visibility"
    return PreparedDataset(
        directory,
        manifest,
        FaceDataset(directory / "train", manifest.image_size, manifest.channel_order, streamed),
        {name: open_verification(directory / "verification", name) for name in manifest.verification},
        VisibilityDataset(visibility, manifest.image_size, manifest.channel_order)
        if manifest.visibility_pairs
        else None,
    )


def fetch_prepared(
    dataset_uri: str,
    directory: Path,
    how: Literal["auto", "copy", "stream"] = "copy",
    limit: int | None = None,
) -> PreparedDataset:
    """Bring a prepared data set from its store into a folder, and open it. What is there already stays.

    Args:
        dataset_uri: `…/datasets/<fingerprint>`, as `prepare_dataset` returns it.
        directory: local folder; the manifest appears in it last.
        how: `copy` brings all of it; `stream` all but the parts of the training images, which are read from the store
            where they are not here; `auto` copies what fits the disk and the limit.
        limit: bytes that this data set and those beside it may take.

    Raises:
        DataError: the manifest is damaged, or the disk is too small.
        StoreError: the store cannot be reached, or an object is missing or damaged.
    """
    from oaml_core.store import open_store

    root, _, fingerprint = dataset_uri.rstrip("/").rpartition(f"/{DATASETS}/")
    if not root:
        raise DataError(f"{dataset_uri} is no prepared data set: it must end in {DATASETS}/<fingerprint>.")
    store = open_store(root)
    text = store.read_bytes(manifest_key(fingerprint))
    manifest = parse_manifest(text, f"{dataset_uri}/{MANIFEST}")
    wanted = [file for file in manifest.files if not is_there(directory, file)]
    directory.mkdir(parents=True, exist_ok=True)
    fits = bytes_of(wanted) <= room_on_disk(directory) and (limit is None or bytes_of(manifest.files) <= limit)
    if how == "stream" or (how == "auto" and not fits):
        parts = [file for file in wanted if is_part(file)]
        log.info("%d training parts of %.1f GB are not copied first, but streamed.", len(parts), bytes_of(parts) / 1e9)
        wanted = [file for file in wanted if not is_part(file)]
        note_store(directory, store.uri)
    _need_room(directory, bytes_of(wanted))
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(lambda file: bring(store, file, directory), wanted))
    with written_whole(directory / MANIFEST) as unfinished:
        unfinished.write_bytes(text)
    return open_prepared(directory)


def _streamed_parts(directory: Path, manifest: Manifest) -> StreamedParts | None:
    store = noted_store(directory)
    if store is None:
        return None
    parts = [file for file in manifest.files if is_part(file)]
    return StreamedParts(directory / "train", store, {part_number(file): file.key for file in parts})


def _need_room(directory: Path, size: int) -> None:
    free = shutil.disk_usage(directory).free
    if size > free:
        raise DataError(
            f"The data set needs {size / 1e9:.1f} GB, {directory} has room for {free / 1e9:.1f} GB: give a larger "
            "disk as work_dir, or set data.fetch to auto or stream."
        )
