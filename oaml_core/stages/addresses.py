"""Where a run and its results lie: in the store, and below `work_dir`."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.errors import EvaluationError
from oaml_core.settings import digest, learnt_settings
from oaml_core.store import open_store, split_uri
from oaml_core.store.cache import LocalCache, cache_bytes
from oaml_core.structured_text import parse_json

if TYPE_CHECKING:
    from oaml_core.data.prepared.prepared import PreparedDataset
    from oaml_core.evaluation.scoring.stored import StoredSet

log = logging.getLogger(__name__)

SUMMARY = "run.json"
"""Addresses of a run's checkpoint, metrics and model; there when the model is."""


def dated_name(config: Config) -> str:
    """Return the name for reports, artifacts and messages of a run made now: the run's name and the date (UTC).

    Addresses carry no date: a night with the data and the configuration of an earlier one finds what that one made.
    """
    return f"{config.name} {datetime.now(UTC):%Y-%m-%d}"


def run_summary(config: Config, dataset_uri: str) -> dict[str, str]:
    """Addresses of `checkpoint`, `metrics` and `model` of the exported run that `config` describes.

    Raises:
        StoreError: there is no such run, or its model is not exported.
    """
    return open_store(config.store).read_json(
        f"{run_prefix(config, dataset_uri)}/{SUMMARY}", ("checkpoint", "metrics", "model")
    )


def run_prefix(config: Config, dataset_uri: str) -> str:
    """Return the run's place in the store and below `work_dir`: the same for all tries of the same training."""
    return f"runs/{config.name}-{digest(learnt_settings(config), dataset_uri.rpartition('/')[2])}"


def fetch_dataset(config: Config, dataset_uri: str) -> PreparedDataset:
    """Return the data set in the local cache, fetched from the store as `data.fetch` says if it is not there."""
    from oaml_core.data.prepared.prepared import dataset_folder, fetch_prepared, open_prepared

    folder = dataset_folder(config, dataset_uri.rpartition("/")[2])
    limit = cache_bytes(config)
    cache = LocalCache(folder.parent, limit)
    dataset = open_prepared(
        cache.use(folder.name, lambda entry: fetch_prepared(dataset_uri, entry, config.data.fetch, limit))
    )
    cache.evict(dataset.bytes_to_come)
    return dataset


def fetch_file(config: Config, uri: str) -> Path:
    """Return the object at `uri` in the run's local folder; a local file as it is, be it there or not.

    Raises:
        StoreError: there is no such object.
    """
    if "://" not in uri:
        return Path(uri)
    store, key = split_uri(uri)
    path = Path(config.work_dir) / prefix_of(config, uri) / uri.rpartition("/")[2]
    store.get_file(key, path)
    return path


def fetch_model(config: Config, uri: str, *, int8: bool = False) -> Path:
    """Return an exported model as a local file, its matcher beside it.

    Args:
        config: of the run.
        uri: address of the model in a store, or a local file.
        int8: bring its variant in 8 bits too, if there is one.
    """
    from oaml_core.inference.model_files import matcher_path

    path = fetch_file(config, uri)
    if "://" in uri:
        fetch_file(config, f"{uri.rpartition('/')[0]}/{matcher_path(path).name}")
        if int8:
            fetch_int8(config, uri)
    return path


def fetch_int8(config: Config, uri: str) -> None:
    """Bring the variant in 8 bits of the model at `uri`, if there is one, to where the model is brought."""
    from oaml_core.inference.model_files import variant_path

    folder, _, name = uri.rpartition("/")
    small = variant_path(Path(name), "int8").name
    if open_store(folder).exists(small):
        fetch_file(config, f"{folder}/{small}")


def read_metrics_json(uri: str) -> dict[str, Any]:
    """Return the content of a `metrics.json` in a store or a local file.

    Raises:
        EvaluationError: there is no such file, or it is none that `oaml evaluate` wrote.
        StoreError: there is no such object.
    """
    try:
        if "://" in uri:
            store, key = split_uri(uri)
            text = store.read_bytes(key)
        else:
            text = Path(uri).read_bytes()
    except OSError as error:
        raise EvaluationError(f"{uri} cannot be read: {error.strerror}. `oaml evaluate` writes it.") from error
    remedy = "It is not a metrics.json of `oaml evaluate`, which writes it."
    return parse_json(text, uri, remedy, EvaluationError, needs={"sets": dict})


def fetch_scores(config: Config, metrics_uri: str) -> dict[str, StoredSet]:
    """Return every pair's scores, which lie beside the `metrics.json` at `metrics_uri`.

    Raises:
        StoreError: they are missing. EvaluationError: they cannot be read.
    """
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, read_scores

    folder, slash, _ = metrics_uri.rpartition("/")
    return read_scores(fetch_file(config, f"{folder}{slash}{SCORES_FILE}"))


def prefix_of(config: Config, uri: str) -> str:
    """Return the run's prefix within the store that `uri`, an object of the run, lies in; `adopted/…` for other
    files.
    """
    base = open_store(config.store).uri
    if uri.startswith(f"{base}/runs/"):
        return "/".join(uri.removeprefix(f"{base}/").split("/")[:2])
    return f"adopted/{digest(uri)}"


def announce(stage: str, what: str, uri: str, reused: bool) -> None:
    log.info("%s: %s%s\n  → %s", stage, what, " (was there already)" if reused else "", uri)
