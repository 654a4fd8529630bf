"""Values of the configuration that cannot work, each refused with the key to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oaml_core.config_restoration import check_restoration
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from oaml_core.config import Config


def check(config: Config) -> None:
    """Refuse values that cannot work, naming the key to change.

    Raises:
        ConfigError: a value is out of its range, or two values do not fit together.
    """
    probabilities = {
        f"augment.{name}": getattr(config.augment, name) for name in vars(config.augment) if name.endswith("_prob")
    }
    for name in ("broken_images_tolerated", "visibility_clean_share"):
        probabilities[f"data.{name}"] = getattr(config.data, name)
    probabilities["export.accuracy_loss"] = config.export.accuracy_loss
    for key, value in probabilities.items():
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{key} is {value}; it is a share and must lie in [0, 1].")
    positive = {
        "data.batch_size": config.data.batch_size,
        "data.num_instances": config.data.num_instances,
        "optim.epochs": config.optim.epochs,
        "optim.lr": config.optim.lr,
        "optim.accumulate_grad_batches": config.optim.accumulate_grad_batches,
        "model.s": config.model.s,
        "evaluate.batch_size": config.evaluate.batch_size,
        "cache_gb": 1.0 if config.cache_gb is None else config.cache_gb,
        "train.val_every_epochs": config.train.val_every_epochs,
        "train.worker_timeout_seconds": config.train.worker_timeout_seconds,
        "train.keep_checkpoints": config.train.keep_checkpoints,
        "train.log_every_steps": config.train.log_every_steps,
    }
    for key, number in positive.items():
        if number <= 0:
            raise ConfigError(f"{key} is {number}; it must be greater than 0.")
    _check_losses(config)
    if (config.data.visibility_batch_size or 0) < 0:
        raise ConfigError(
            f"data.visibility_batch_size is {config.data.visibility_batch_size}; it is a number of images, 0 or more."
        )
    if config.export.check_pairs < 20:
        raise ConfigError(f"export.check_pairs is {config.export.check_pairs}; ten folds need at least 20 pairs.")
    if config.data.image_size not in (112, 224):
        raise ConfigError(f"data.image_size is {config.data.image_size}; the backbones take 112 or 224.")
    if config.data.sampler != "shuffle" and config.data.batch_size % config.data.num_instances:
        raise ConfigError(
            f"data.batch_size {config.data.batch_size} is not a multiple of data.num_instances "
            f"{config.data.num_instances}: a batch holds whole identities. Change one of the two."
        )
    if not 0.0 < config.model.sample_rate <= 1.0:
        raise ConfigError(f"model.sample_rate is {config.model.sample_rate}; it is a share and must lie in (0, 1].")
    if config.model.freeze_backbone and config.model.weights is None:
        raise ConfigError("model.freeze_backbone would keep a backbone as it was drawn at random: give model.weights.")
    if config.train.min_nodes > config.train.max_nodes:
        raise ConfigError(f"train.min_nodes {config.train.min_nodes} exceeds train.max_nodes {config.train.max_nodes}.")
    _check_workers(config)
    _check_evaluation(config)
    check_restoration(config.restoration)
    if config.data.synthetic_pairs % 20:
        raise ConfigError(f"data.synthetic_pairs is {config.data.synthetic_pairs}; it must be a multiple of 20.")


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
                f"train.nproc × train.max_nodes is {workers} workers; {key} {size} can be shared out among 1 to {most} "
                f"of them, any number. Take fewer workers, or a larger {key}."
            )


def _check_losses(config: Config) -> None:
    weights = ("adaface", "qaconv", "occlusion", "softmax_triplet")
    for name in (*(f"{weight}_loss_weight" for weight in weights), "triplet_margin", "triplet_weight"):
        if getattr(config.loss, name) < 0:
            raise ConfigError(f"loss.{name} is {getattr(config.loss, name)}; it must be 0 or more.")
    if config.loss.class_embeddings_gib <= 0:
        raise ConfigError(f"loss.class_embeddings_gib is {config.loss.class_embeddings_gib}; it must be more than 0.")
    if config.model.k_nearest < 2:
        raise ConfigError(f"model.k_nearest is {config.model.k_nearest}; a sample needs 2 classes to choose from.")


def _check_evaluation(config: Config) -> None:
    for share in config.evaluate.block_shares:
        if not 0.0 < share <= 0.9:
            raise ConfigError(f"evaluate.block_shares has {share}; shares of the image lie in (0, 0.9].")
    for rate in config.evaluate.far:
        if not 0.0 < rate <= 1.0:
            raise ConfigError(f"evaluate.far has {rate}; false accept rates lie in (0, 1].")
    if not config.evaluate.far:
        raise ConfigError("evaluate.far is empty; name at least one false accept rate, such as 1e-3.")
    if config.evaluate.pictures < 0:
        raise ConfigError(f"evaluate.pictures is {config.evaluate.pictures}; it is a number of pairs, 0 or more.")
    if config.promote.non_inferior_by < 0:
        raise ConfigError(
            f"promote.non_inferior_by is {config.promote.non_inferior_by}; it is what accuracy may fall by, in points: "
            "0 or more."
        )
