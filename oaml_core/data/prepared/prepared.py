"""A prepared data set: one layout whatever it was made from.

    manifest.json                     written last; names every file with its SHA-256
    checks.json                       what was looked at and what was set aside
    train/part-00000.rec …            the images as they were encoded
    train/labels.npy, parts.npy, offsets.npy, sizes.npy, sources.npy, landmarks.npy
    verification/<name>.dat, <name>.dat.conf, <name>_list.npy, <name>_landmarks.npy, <name>_identities.npy,
                 <name>_people.json
    visibility/part-00000.rec …, parts.npy, offsets.npy, sizes.npy, validation.npy

In a store the files lie under `datasets/files/<SHA-256>`, each content once, and
`datasets/<fingerprint>/manifest.json` says which make up a data set.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.manifest import MANIFEST, Manifest, ManifestFile, parse_manifest
from oaml_core.data.prepared.verification import VerificationSet, open_verification
from oaml_core.data.prepared.visibility_set import VisibilityDataset
from oaml_core.errors import DataError
from oaml_core.store.base import MissingObject

if TYPE_CHECKING:
    from oaml_core.store import Store

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


def manifest_key(fingerprint: str) -> str:
    """Key of a data set's manifest in a store."""
    return f"{DATASETS}/{fingerprint}/{MANIFEST}"


def open_prepared(directory: Path) -> PreparedDataset:
    """Open a data set that `fetch_prepared` put there; takes a fraction of a second whatever its size.

    Raises:
        DataError: there is no complete data set there, or a file has another size than the manifest says.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise DataError(f"{directory} holds no complete data set (no {MANIFEST}): run `oaml prepare`.")
    manifest = parse_manifest(path.read_bytes(), str(path))
    damaged = [file.path for file in manifest.files if not _is_there(directory, file)]
    if damaged:
        raise DataError(f"{directory} lacks {damaged[0]}, or it is cut off; remove the folder and fetch it again.")
    visibility = directory / "visibility"
    return PreparedDataset(
        directory,
        manifest,
        FaceDataset(directory / "train", manifest.image_size, manifest.channel_order),
        {name: open_verification(directory / "verification", name) for name in manifest.verification},
        VisibilityDataset(visibility, manifest.image_size, manifest.channel_order)
        if manifest.visibility_pairs
        else None,
    )


def fetch_prepared(dataset_uri: str, directory: Path) -> PreparedDataset:
    """Bring a prepared data set from its store into a folder, and open it. What is there already stays.

    Args:
        dataset_uri: `…/datasets/<fingerprint>`, as `prepare_dataset` returns it.
        directory: local folder; the manifest appears in it last.

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
    wanted = [file for file in manifest.files if not _is_there(directory, file)]
    directory.mkdir(parents=True, exist_ok=True)
    _need_room(directory, sum(file.size for file in wanted))
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(lambda file: _fetch(store, file, directory / file.path), wanted))
    unfinished = directory / f".{MANIFEST}.{os.getpid()}"
    unfinished.write_bytes(text)
    unfinished.replace(directory / MANIFEST)
    return open_prepared(directory)


def _fetch(store: Store, file: ManifestFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.get_file(file.key, path)
    except MissingObject:
        raise DataError(
            f"{store.url(file.key)}, which is {file.path} of the data set, is not in the store. Run `oaml prepare "
            "--repair` with the same configuration: it makes the file again."
        ) from None
    with path.open("rb") as fetched:
        found = hashlib.file_digest(fetched, "sha256").hexdigest()
    if found != file.sha256:
        path.unlink()
        raise DataError(f"{store.url(file.key)} is damaged (SHA-256 {found}). Run `oaml prepare --repair`.")


def _is_there(directory: Path, file: ManifestFile) -> bool:
    try:
        return (directory / file.path).stat().st_size == file.size
    except OSError:
        return False


def _need_room(directory: Path, size: int) -> None:
    free = shutil.disk_usage(directory).free
    if size > free:
        raise DataError(
            f"The data set needs {size / 1e9:.1f} GB, {directory} has room for {free / 1e9:.1f} GB: give a larger "
            "disk as work_dir."
        )
