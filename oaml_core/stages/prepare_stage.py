"""Faces from anywhere → a data set in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oaml_core.config import Config
from oaml_core.stages.addresses import announce
from oaml_core.store import open_store

if TYPE_CHECKING:
    from oaml_core.data.prepared.manifest import Manifest


@dataclass(frozen=True)
class Prepared:
    """What `prepare` gives."""

    dataset_uri: str
    fingerprint: str
    reused: bool
    summary: dict[str, int]
    """Images, identities, verification pairs, images set aside."""


def prepare(config: Config, *, repair: bool = False) -> Prepared:
    """Check the faces that `config.data` names, and put them into the store in the form that training reads.

    Args:
        config: `data`, `store` and `work_dir`.
        repair: read all files of a data set that is there, and make again what is damaged.

    Raises:
        DataError: the source cannot be used, or too much of it is broken.

    Example:
        >>> import oaml_core as oaml
        >>> config = oaml.load_config("smoke", ["--store", "shelf", "--data.synthetic_identities", "16"])
        >>> oaml.prepare(config).dataset_uri.startswith("file://")
        True
    """
    from oaml_core.data.prepare.prepare import prepare_dataset

    made = prepare_dataset(config, open_store(config.store), repair=repair)
    summary = counts(made.manifest)
    announce("prepare", f"{summary['images']:,} images of {summary['identities']:,} identities", made.uri, made.reused)
    return Prepared(made.uri, made.fingerprint, made.reused, summary)


def counts(manifest: Manifest) -> dict[str, int]:
    """Return images, identities, verification pairs and images set aside of a prepared data set."""
    return {
        "images": manifest.images,
        "identities": len(manifest.identities),
        "verification_pairs": sum(manifest.verification.values()),
        "set_aside": manifest.set_aside,
    }
