"""Every hyper-parameter once, as a tree of frozen dataclasses.

A recipe (`configs/*.yaml`) says only what differs from the defaults here; `oaml … --print-config` shows the
whole resolved tree. `oaml_core.settings` reads recipes and command-line overrides. Each section has a module with its
fields and their checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from oaml_core.amounts import amount
from oaml_core.config.checks import check_leaves, check_name, check_positive
from oaml_core.config.data import AugmentConfig, DataConfig, check_augment, check_data
from oaml_core.config.evaluate import EvaluateConfig, check_evaluate
from oaml_core.config.export import ExportConfig, check_export
from oaml_core.config.flat_names import is_flat, modern_words, refuse_values_of_sections
from oaml_core.config.loss import LossConfig, check_loss
from oaml_core.config.model import ModelConfig, check_model
from oaml_core.config.nightly import NightlyConfig, check_nightly
from oaml_core.config.occluders import Sides
from oaml_core.config.optim import OptimConfig, check_optim
from oaml_core.config.promote import PromoteConfig, check_promote
from oaml_core.config.restoration import RestorationConfig, check_restoration
from oaml_core.config.train import TrackingConfig, TrainConfig, check_train, validation_interval
from oaml_core.errors import ConfigError
from oaml_core.registry import MATCHERS, POOLS

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "ExportConfig",
    "LossConfig",
    "ModelConfig",
    "NightlyConfig",
    "OptimConfig",
    "PromoteConfig",
    "RestorationConfig",
    "Sides",
    "TrackingConfig",
    "TrainConfig",
    "check_leaves",
    "is_flat",
    "modern_words",
    "occluders",
    "refuse_values_of_sections",
    "validation_interval",
]


@dataclass(frozen=True)
class Config:
    """The configuration of one run: all sections, and the values that stand outside of any.

    Example:
        >>> import oaml_core as oaml
        >>> config = oaml.Config(name="mine", seed=3)
        >>> config.optim.lr
        0.1
    """

    name: str = "oaml"
    """Name of the run: its folder, its prefix in the store, its rendezvous id."""
    seed: int = 0
    """The one seed that all randomness comes from, at least 0."""
    store: str = "runs"
    """Artifact store: `s3://bucket/prefix` or a folder. Credentials come from the environment."""
    work_dir: str = ".oaml"
    """Local folder for caches and runs in progress."""
    cache_gb: float | None = None
    """Gigabytes, more than 0, that data sets from the store may take below work_dir, and as many that weights to start
    from may: those used longest ago go first, none that is in use. None: no limit."""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)
    nightly: NightlyConfig = field(default_factory=NightlyConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    restoration: RestorationConfig = field(default_factory=RestorationConfig)

    def __post_init__(self) -> None:
        _check(self)


def _check(config: Config) -> None:
    """Refuse values that cannot work, alone or together; ConfigError names the key to change."""
    check_leaves(config)
    check_name(config.name)
    if not 0 <= config.seed < 2**63:
        raise ConfigError(f"seed is {config.seed}; it must lie in [0, 2^63).")
    check_positive({"cache_gb": 1.0 if config.cache_gb is None else config.cache_gb})
    check_data(config.data)
    check_augment(config.augment, config.data.occluders)
    check_model(config.model)
    check_loss(config.loss)
    check_optim(config.optim)
    check_train(config.train)
    check_evaluate(config.evaluate, config.data.occluders)
    check_export(config.export)
    check_promote(config.promote)
    check_nightly(config.nightly)
    check_restoration(config.restoration)
    _check_workers(config)
    _check_adaptation(config)


def _check_adaptation(config: Config) -> None:
    """Refuse loss terms and optimisers that the model has nothing for."""
    if config.model.matching_trains_visibility:
        _check_visibility_gradients(config)
    if config.loss.distils and not MATCHERS.has(config.model.matcher, POOLS):
        able = " or ".join(name for name in MATCHERS.names() if MATCHERS.has(name, POOLS))
        raise ConfigError(
            f"The distillation terms of loss need model.matcher {able}, not {config.model.matcher}: the other matchers "
            "make no embedding of the visible places."
        )
    if config.loss.targets_known:
        _check_known_targets(config)
    if config.optim.optimiser == "adamw" and config.model.sample_rate < 1:
        raise ConfigError(
            "optim.optimiser adamw cannot train a sampled classifier: set model.sample_rate to 1, or sgd."
        )


def _check_known_targets(config: Config) -> None:
    """Refuse targets that cannot be known before training."""
    if not config.model.freeze_backbone:
        raise ConfigError(
            "loss.targets_known needs model.freeze_backbone: the embeddings of a backbone that learns change."
        )
    if config.augment.rect_crop_prob > 0:
        raise ConfigError(
            "loss.targets_known knows faces as they are and mirrored, not cropped: set augment.rect_crop_prob to 0."
        )


def _check_visibility_gradients(config: Config) -> None:
    """Refuse gradients into a visibility map that matching does not use."""
    if config.model.weighting == "none":
        raise ConfigError(
            "model.matching_trains_visibility has no effect with model.weighting none: matching does not use the "
            "visibility map. Set one of the two differently."
        )
    if config.loss.matching_visibility == "drawn":
        raise ConfigError(
            "model.matching_trains_visibility has no effect with loss.matching_visibility drawn: pairs are matched "
            "with the drawn masks. Set loss.matching_visibility predicted."
        )


def _check_workers(config: Config) -> None:
    """Refuse more workers than a global batch can be shared out among, where their number is known."""
    data, train = config.data, config.train
    unit = 1 if data.sampler == "shuffle" else data.num_instances
    workers = (train.nproc or 1) * train.max_nodes
    shared = [("data.batch_size", data.batch_size, data.batch_size // unit)]
    if data.visibility_batch_size:
        shared.append(("data.visibility_batch_size", data.visibility_batch_size, data.visibility_batch_size))
    for key, size, most in shared:
        if workers > most:
            raise ConfigError(
                f"train.nproc × train.max_nodes is {amount(workers, 'worker')}; {key} {size} can be shared out "
                f"among 1 to {most} of them, any number. Take fewer workers, or a larger {key}."
            )
