"""Recognisers that a person added to the store: where they lie, and which model answers without a name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ConfigError, DataError
from oaml_core.inference.backends import Backend
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.quickest import quickest_file
from oaml_core.progress import progress
from oaml_core.stages.addresses import fetch_model
from oaml_core.stages.local_runs import latest_local_run
from oaml_core.stages.production import champion
from oaml_core.store import Store, open_store

log = logging.getLogger(__name__)

ADDED = "models/added/latest.json"
"""Which model was added last."""
RATES = (1e-1, 1e-2, 1e-3)
"""False accept rates that thresholds are measured for, where there are impostors enough."""
TRAINED_ON = "trained_on.json"
"""Which data set an added model was trained on; absent beside those that came from elsewhere."""
STEP = 64
"""Faces that are described between two signs of progress."""


def add_model(
    store: Store, name: str, model: Path, card: Path, beside: Iterable[Path] = (), fingerprint: str = ""
) -> str:
    """Put a recogniser and its card into the store, and make it the one added last.

    Args:
        store: where to.
        name: of the model.
        model: file that `wrap_recogniser` or an export wrote.
        card: its card, in Markdown.
        beside: files that belong to it: its matcher and variants.
        fingerprint: of the data set that it was trained on; empty: it came from elsewhere.

    Returns:
        Address of the model.
    """
    folder = f"models/added/{name}-{sha256(model.read_bytes()).hexdigest()[:16]}"
    for path in (card, *beside):
        store.put_file(path, f"{folder}/{path.name}")
    if fingerprint:
        store.write_bytes(f"{folder}/{TRAINED_ON}", json.dumps({"fingerprint": fingerprint}).encode())
    store.put_file(model, f"{folder}/model.onnx")
    uri = store.url(f"{folder}/model.onnx")
    store.write_bytes(ADDED, json.dumps({"version": name, "model_uri": uri}, indent=1).encode())
    if (present := champion(store)) is not None:
        log.warning("%s is in production and goes on answering; `--onnx %s` takes this model.", present["version"], uri)
    return uri


def trained_models(store: Store) -> Iterator[tuple[str, str]]:
    """Yield key and data set's fingerprint of every added model that was trained here."""
    for info in store.list("models/added/"):
        if info.key.endswith(f"/{TRAINED_ON}"):
            found = store.read_json(info.key, {"fingerprint": str}, "Run `oaml model adapt` again.")
            yield f"{info.key.removesuffix(TRAINED_ON)}model.onnx", found["fingerprint"]


def find_model(config: Config, backend: Backend = "onnxruntime", *, int8: bool = False) -> OamlOnnx:
    """Return the model that answers where none is named.

    It is the one in production in the store; else the one added last; else, if the store is the default one, the one in
    production in the store that the latest local run left below `work_dir`, see `latest_local_run`.

    Args:
        config: names the store.
        backend: what runs the model, see `oaml_core.inference.backends`.
        int8: the variant in 8 bits may answer, see `quickest_file`.

    Raises:
        ConfigError: there is none of these.
    """
    found, config = find_record(config)
    log.info("model: %s", found["version"])
    return fetch_recogniser(config, found["model_uri"], backend, int8=int8)


def find_record(config: Config) -> tuple[dict[str, Any], Config]:
    """Return the record (`version`, `model_uri`) of the model that `find_model` returns, and the configuration to
    fetch it by.

    Raises:
        ConfigError: there is none.
    """
    store = open_store(config.store)
    present = champion(store) or _latest(store)
    if present is None and config.store == Config().store:
        left = latest_local_run(Path(config.work_dir))
        present = None if left is None else champion(open_store(str(left.folder)))
        if left is not None and present is not None:
            uri = present["model_uri"].replace(left.uri, open_store(str(left.folder)).uri, 1)
            present, config = {**present, "model_uri": uri}, replace(config, store=str(left.folder))
    if present is None:
        raise ConfigError(
            f"There is no model in production in {config.store}. Name one by --onnx model.onnx, or another --store. "
            "`make demo` trains one, `oaml model add` takes a published one."
        )
    return present, config


def fetch_recogniser(
    config: Config, uri: str, backend: Backend = "onnxruntime", *, int8: bool = False, threads: int = 0
) -> OamlOnnx:
    """Return the recogniser at an address, with its matcher if one lies beside it.

    Args:
        config: of the run.
        uri: address in a store, or a local file.
        backend: what runs the model.
        int8: the variant in 8 bits may answer, see `quickest_file`.
        threads: threads inside an operator; 0: the backend's choice.
    """
    path = _fetched(config, uri, int8=int8)
    return OamlOnnx(quickest_file(path, backend) if int8 else path, backend=backend, threads=threads)


def measure_thresholds(model: OamlOnnx, path: Path) -> tuple[dict[str, float], str]:
    """Measure a recogniser on the pairs of a verification set.

    Args:
        model: recogniser.
        path: `.bin` file or pair list of aligned faces.

    Returns:
        Thresholds on the cosine by false accept rate, where it is measurable; and a line for the card.

    Raises:
        DataError: the set cannot be read, or its images are not square.
    """
    from oaml_core.data.sources.base import LocalFolder
    from oaml_core.data.sources.verification import find_verification, open_verification_source
    from oaml_core.decoding.decode import decode_image, fit_square
    from oaml_core.evaluation.statistics.roc import roc, tar_at_far

    folder = LocalFolder(path.parent)
    name = next((name for name, file in find_verification(folder).items() if file == path.name), None)
    if name is None:
        raise DataError(f"{path} is not a verification set: a .bin file or a list of pairs is needed.")
    source = open_verification_source(folder, name, path.name)
    read = iter(source.read_images())
    parts = []
    for _ in progress(range(0, 2 * len(source), STEP), -(-2 * len(source) // STEP), f"describe faces of {name}"):
        images = [fit_square(decode_image(data), model.image_size) for data in islice(read, STEP)]
        parts.append(model.records(np.stack(images)).embedding)
    embeddings = np.concatenate(parts)
    scores = (embeddings[::2] * embeddings[1::2]).sum(1)
    points = tar_at_far(roc(scores, source.issame), RATES)
    kept = {f"{one.far:g}": float(one.threshold) for one in points if one.measurable and one.threshold is not None}
    rates = ", ".join(f"TAR {100 * one.tar:.2f} % at FAR {one.far:g}" for one in points if one.tar is not None)
    return kept, f"{rates} on {amount(len(source), 'pair')} of {name}, none of them held out from the thresholds"


def _latest(store: Store) -> dict[str, Any] | None:
    return _checked(store) if store.exists(ADDED) else None


def _checked(store: Store) -> dict[str, Any]:
    return store.read_json(ADDED, {"version": str, "model_uri": str}, "Run `oaml model add` again.")


def _fetched(config: Config, uri: str, *, int8: bool) -> Path:
    """Return the model as a local file; a model without a matcher has none beside it."""
    store, key = open_store(uri.rpartition("/")[0]), "model.matcher.onnx"
    if "://" in uri and not store.exists(key):
        from oaml_core.stages.addresses import fetch_file

        return fetch_file(config, uri)
    return fetch_model(config, uri, int8=int8)
