"""Faces from anywhere → a data set in the store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.settings import config_from_yaml
from oaml_core.stages.addresses import announce, fetch_file, run_prefix
from oaml_core.stages.costs import costing
from oaml_core.store import open_store

if TYPE_CHECKING:
    from oaml_core.data.prepare.finished import StoredDataset
    from oaml_core.data.prepared.manifest import Manifest

NAMES_FACES = (
    *("source", "verification_source", "visibility_source", "subset"),
    *("synthetic_identities", "synthetic_images_per_identity", "synthetic_pairs"),
)
"""Keys of `data` by which a user says which faces are meant."""


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`."""

    dataset_uri: str
    fingerprint: str
    reused: bool
    summary: dict[str, int]
    """Images, identities, verification pairs, images set aside."""


def prepare(config: Config, *, repair: bool = False, shards: int | None = None) -> Prepared:
    """Check the faces that `config.data` names, and put them into the store in the form that training reads.

    Args:
        config: `data`, `store` and `work_dir`.
        repair: read all files of a data set that is there, and make again what is damaged.
        shards: number of shards that are made one after another; those that an earlier run has made are kept. None:
            all at once.

    Raises:
        ConfigError: `repair` and `shards` are given both. DataError: the source cannot be used, or too much of it is
            broken.

    Example:
        >>> import oaml_core as oaml
        >>> config = oaml.load_config("smoke", ["--store", "shelf", "--data.synthetic_identities", "16"])
        >>> oaml.prepare(config).dataset_uri.startswith("file://")
        True
    """
    from oaml_core.data.prepare.prepare import prepare_dataset

    if shards is not None and repair:
        raise ConfigError("--repair looks at a data set as a whole: leave --shards out.")
    with costing(config, "preprocess") as attempt:
        if shards is not None:
            from oaml_core.data.prepare.shard_merge import prepare_sharded

            made = prepare_sharded(config, open_store(config.store), shards)
        else:
            made = prepare_dataset(config, open_store(config.store), repair=repair)
        attempt.run = run_prefix(config, made.uri)
    return _announced(made)


def plan_shards(config: Config, shards: int) -> list[str]:
    """Share the preparation of `config.data` out among `shards` processes, each of which calls `prepare_shard`.

    Args:
        config: `data`, `store` and `work_dir`.
        shards: number of processes.

    Returns:
        Orders for `prepare_shard`, `<plan>/<number>`; a single one where nothing is new.

    Raises:
        DataError: the source cannot be used.
    """
    from oaml_core.data.prepare import shard_plan

    with costing(config, "plan-shards") as attempt:
        plan = shard_plan.plan_shards(config, open_store(config.store), shards)
        attempt.run = f"shards/-{plan.key}"
    said = amount(plan.shards, "shard") if plan.made is None else "nothing new"
    announce("plan-shards", said, f"{config.store.rstrip('/')}/{plan.prefix}", plan.made is not None)
    return [f"{plan.key}/{number}" for number in range(1 if plan.made else plan.shards)]


def prepare_shard(config: Config, order: str) -> bool:
    """Make one shard, unless it was made before.

    Args:
        config: the one that the plan was made with.
        order: one of those that `plan_shards` gave.

    Returns:
        True if it was made now.

    Raises:
        ConfigError: it is no order.
    """
    from oaml_core.data.prepare.shards import make_shard

    plan, _, number = order.partition("/")
    if not number.isdecimal():
        raise ConfigError(f"{order!r} is no order of a shard, such as 0123456789abcdef/0.")
    with costing(config, "prepare-shard", f"shards/-{plan}"):
        made = make_shard(config, open_store(config.store), plan, int(number))
    announce("prepare-shard", f"shard {number}", f"{config.store.rstrip('/')}/shards/{plan}/", not made)
    return made


def merge_shards(config: Config, order: str) -> Prepared:
    """Make one data set of all shards of a plan; those that are missing are made first.

    Args:
        config: the one that the plan was made with.
        order: any of those that `plan_shards` gave.

    Raises:
        DataError: too much of the source is broken, or it is not what it was when the work was shared out.
    """
    from oaml_core.data.prepare import shard_merge

    plan = order.partition("/")[0]
    with costing(config, "preprocess") as attempt:
        made = shard_merge.merge_shards(config, open_store(config.store), plan)
        attempt.run, attempt.plan = run_prefix(config, made.uri), plan
    return _announced(made)


def _announced(made: StoredDataset) -> Prepared:
    summary = counts(made.manifest)
    announce(
        "prepare",
        f"{amount(summary['images'], 'image')} of {summary['identities']:,} identities",
        made.uri,
        made.reused,
    )
    return Prepared(made.uri, made.fingerprint, made.reused, summary)


def dataset_of_checkpoint(config: Config, checkpoint_uri: str) -> str:
    """Return the address of the data set that a checkpoint was trained on, prepared again if the store lacks it.

    Args:
        config: `store` and `work_dir`. Where its `data` names faces (`NAMES_FACES`), those are meant instead.
        checkpoint_uri: file or address in a store.

    Raises:
        CheckpointError: it is none. DataError: the source that it names is not there any more.
    """
    from oaml_core.training.checkpoints import read_checkpoint

    default = Config().data
    if any(getattr(config.data, key) != getattr(default, key) for key in NAMES_FACES):
        return prepare(config).dataset_uri
    state = read_checkpoint(fetch_file(config, checkpoint_uri))
    store, prefix = open_store(config.store), f"datasets/{state['fingerprint']}"
    if store.exists(f"{prefix}/manifest.json"):
        return store.url(prefix)
    trained = config_from_yaml(state["config"])
    return prepare(replace(trained, store=config.store, work_dir=config.work_dir)).dataset_uri


def counts(manifest: Manifest) -> dict[str, int]:
    """Return images, identities, verification pairs and images set aside of a prepared data set."""
    return {
        "images": manifest.images,
        "identities": len(manifest.identities),
        "verification_pairs": sum(manifest.verification.values()),
        "set_aside": manifest.set_aside,
    }
