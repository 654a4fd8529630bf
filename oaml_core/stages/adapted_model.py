"""A published recogniser → the same one with local layers trained on top, in the store and ready to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oaml_core.config import Config, DataConfig
from oaml_core.errors import CheckpointError, ConfigError
from oaml_core.held_folder import held_folder
from oaml_core.inference.model_files import VARIANTS, matcher_path, variant_path
from oaml_core.stages.added_model import add_model
from oaml_core.stages.evaluate_stage import evaluate
from oaml_core.stages.export_stage import export
from oaml_core.stages.prepare_stage import prepare
from oaml_core.stages.train_stage import check_files, train
from oaml_core.store import Store, open_store

RECIPE = "adapt"
"""Recipe that adapting takes where none is named."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "mobilefacenet": {},
    "mobilenet": {"model.local_layers": 9, "optim.lr_at_rms": 0.2, "optim.epochs": 10},
    "ir_18": {"model.local_layers": 4, "optim.lr_at_rms": 0.2},
    "ir_50": {"model.local_layers": 8, "optim.lr_at_rms": 0.2},
}
"""Architectures that the recipe has settings for, and what differs from it (docs/adapting-a-backbone.md)."""


@dataclass(frozen=True)
class Adapted:
    """Result of `adapt`."""

    model_uri: str
    """Address of the model that answers from now on where none is in production."""
    report_uri: str
    dataset_uri: str
    checkpoint_uri: str
    measured: Mapping[str, float]
    """`Evaluated.metrics`."""


def settings_for(weights: Path) -> list[str]:
    """Return the recipe's options for published weights: their architecture and what it wants otherwise.

    Args:
        weights: file of a published recogniser.

    Raises:
        CheckpointError: the file cannot be read, or is of no architecture in `SETTINGS`.
    """
    from oaml_core.models.build import build_backbone
    from oaml_core.models.pretrained import load_backbone

    reasons: dict[str, str] = {}
    for arch, settings in SETTINGS.items():
        try:
            load_backbone(build_backbone(arch), weights)
        except CheckpointError as error:
            reasons[arch] = str(error)
            continue
        named = {"model.arch": arch, **settings}
        return [word for key, value in named.items() for word in (f"--{key}", str(value))]
    if len(set(reasons.values())) == 1:  # the file cannot be read at all
        raise CheckpointError(next(iter(reasons.values())))
    raise CheckpointError(
        f"{weights} is of no architecture that the recipe has settings for ({', '.join(SETTINGS)}). Name --model.arch "
        "and the settings that it wants (docs/adapting-a-backbone.md), or take the file as it is: `oaml model add`.\n"
        + "\n".join(f"{arch}: {reason}" for arch, reason in reasons.items())
    )


def adapt(config: Config, *, launcher: str = "local") -> Adapted:
    """Prepare, train, evaluate, export, and let the model answer where none is in production.

    What was finished before is not done again; an interrupted training goes on from its newest checkpoint.

    Args:
        config: a recipe that keeps the backbone of `model.weights` as it is.
        launcher: see `train`.

    Raises:
        ConfigError: the recipe would train the backbone, or names no faces. DataError, CheckpointError,
            EvaluationError, ExportError: see the stages.
    """
    if not config.model.freeze_backbone:
        raise ConfigError(
            "Adapting keeps the backbone as it is, and this recipe trains it: set model.freeze_backbone, or leave "
            f"--config out for the recipe {RECIPE}."
        )
    if config.data.source is None and config.data.synthetic_identities == DataConfig().synthetic_identities:
        raise ConfigError(
            "Drawn faces teach nothing of real ones: name the folder of training faces, --data.source FOLDER. For "
            "drawn ones all the same, say how many people: --data.synthetic_identities 100."
        )
    check_files(config)
    dataset = prepare(config).dataset_uri
    checkpoint = train(config, dataset, launcher=launcher).checkpoint_uri
    found = evaluate(config, dataset, checkpoint)
    exported = export(config, dataset, checkpoint, found.metrics_uri)
    store, folder = open_store(config.store), exported.model_uri.rpartition("/")[0]
    uri = _added(store, open_store(folder), config.name, str(exported.metadata["fingerprint"]))
    return Adapted(uri, found.report_uri, dataset, checkpoint, found.metrics)


def _added(store: Store, exported: Store, name: str, fingerprint: str) -> str:
    """Return the address of a copy of an exported model that no later run displaces, with all that lies beside it."""
    with held_folder("oaml-model-") as folder:
        model, card = folder / "model.onnx", folder / "MODEL_CARD.md"
        beside = [matcher_path(model), *(variant_path(model, variant) for variant in VARIANTS)]
        there = [path for path in beside if exported.exists(path.name)]
        for path in (model, card, *there):
            exported.get_file(path.name, path)
        return add_model(store, name, model, card, there, fingerprint)


def named_after(config: Config, weights: Path) -> Config:
    """Return the configuration with a name that says which backbone was adapted, unless the user gave it one."""
    return replace(config, name=f"{weights.stem}-adapted") if config.name in (RECIPE, Config().name) else config
