"""Flat options of earlier training scripts of this field, and the configuration keys that they mean here.

AdaFace's and QAConv's scripts take `--batch_size 256 --arch ir_50 --use_16bit`. Such options are read as the keys
below; those that need nothing or something else are refused with what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from oaml_core.errors import ConfigError

_SAME = {
    "data": ("batch_size", "num_workers", "num_instances", "image_size"),
    "augment": ("low_res_augmentation_prob", "crop_augmentation_prob", "photometric_augmentation_prob"),
    "model": ("arch", "head", "m", "h", "s", "t_alpha", "k_nearest"),
    "loss": ("qaconv_loss_weight", "adaface_loss_weight", "triplet_margin"),
    "optim": (
        *("epochs", "lr", "lr_milestones", "lr_gamma", "momentum", "weight_decay", "accumulate_grad_batches"),
        "gradient_clip_norm",
    ),
    "evaluate": ("adaface_weight", "qaconv_weight"),
    "restoration": ("total_kimg", "kimg_per_tick", "snapshot_ticks", "batch_gpu"),
}
KEYS: Mapping[str, str] = {
    **{name: f"{section}.{name}" for section, names in _SAME.items() for name in names},
    "data_root": "data.source",
    "train_data_path": "data.source",
    "val_data_path": "data.verification_source",
    "niqab_data_path": "data.visibility_source",
    "train_data_subset": "data.subset",
    "output_dir": "store",
    "prefix": "name",
    "gpus": "train.nproc",
    "occlusion_loss_weight": "loss.visibility_loss_weight",
    "model_path": "checkpoint",
    "data_path": "data.source",
}
"""Configuration key, or option of the command, that a flat option with a value means."""
SWITCHES: Mapping[str, tuple[str, str]] = {
    "use_16bit": ("train.precision", "fp16"),
    "pk_sampler": ("data.sampler", "pk"),
    "use_occlusion_weighting": ("model.weighting", "multiply"),
    "swap_color_channel": ("data.channel_order", "bgr"),
    "use_wandb": ("tracking.wandb", "auto"),
}
"""Key and value that a flat option without a value means."""
REFUSED: Mapping[str, str] = {
    "resume_from_checkpoint": "Leave it out: the same command goes on from its newest checkpoint. Weights alone are "
    "taken over by --train.start_from.",
    "start_from_model_statedict": "Give a backbone's weights as --model.weights, or a checkpoint of OAML as "
    "--train.start_from.",
    "distributed_backend": "Leave it out: several workers always train by DDP; --train.nproc says how many.",
    "custom_num_class": "Leave it out: the identities are counted.",
    "num_classes": "Leave it out: the identities are counted.",
    "use_mxrecord": "Leave it out: a source that holds train.rec is read as one.",
    "fast_dev_run": "Use the recipe `--config smoke`.",
    "test_run": "Use the recipe `--config smoke`.",
}
"""Advice in place of a flat option that has no key."""
_ANSWERS = ("true", "false", "1", "0")
FLAT = frozenset({*KEYS, *SWITCHES, *REFUSED})


def is_flat(word: str) -> bool:
    """Return True if a word of the command line may be a flat option."""
    return word.startswith("--") and word.partition("=")[0][2:].replace("-", "_") in FLAT


def modern_words(words: Sequence[str], known: Collection[str]) -> list[str]:
    """Write flat options by the keys that they mean.

    Args:
        words: the command line.
        known: options of the command, with dashes, which keep their meaning.

    Returns:
        The words with `--batch_size 64` as `--data.batch_size 64`.

    Raises:
        ConfigError: a flat option has no key; the message says what to do.
    """
    found: list[str] = []
    waiting: list[str] = list(words)
    while waiting:
        word = waiting.pop(0)
        option, equals, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or option in known or name not in FLAT:
            found.append(word)
        elif name in REFUSED:
            raise ConfigError(f"There is no option {option} here. {REFUSED[name]}")
        elif name in SWITCHES:
            answer = waiting.pop(0).lower() if waiting and waiting[0].lower() in _ANSWERS else "true"
            if answer in ("false", "0"):
                raise ConfigError(f"{option} cannot be switched off like this. Set --{SWITCHES[name][0]}.")
            found += [f"--{SWITCHES[name][0]}", SWITCHES[name][1]]
        else:
            found.append(f"--{KEYS[name]}")
            if equals or waiting:
                found.append(_as_list(name, value if equals else waiting.pop(0)))
    return found


_MEANT = {"model": ("--onnx", "--checkpoint", "--backbone"), "data": ("--data.source",)}
"""Options that a value after the name of a section may have been meant for."""


def refuse_values_of_sections(
    words: Sequence[str], first_keys: Mapping[str, str], known: Callable[[], Collection[str]]
) -> None:
    """Refuse `--model FILE`, which a parser would read as YAML of the section, whatever the file is.

    Args:
        words: the command line.
        first_keys: a key of each section, by the section's name.
        known: gives the options of the command, with dashes.

    Raises:
        ConfigError: a section has a value that is no mapping of its keys.
    """
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        name = option.removeprefix("--")
        if name == option or name not in first_keys:
            continue
        value = value if equals else next(iter(words[place + 1 :]), "")
        if value.startswith("{") or value.endswith((".yaml", ".yml", ".json")):
            continue
        meant = [other for other in _MEANT.get(name, ()) if other in known()]
        hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
        key = first_keys[name]
        raise ConfigError(f"{option} is a section of the configuration; give one of its keys, such as --{key}.{hint}")


def _as_list(name: str, value: str) -> str:
    """Write `8,12,14`, as the scripts take milestones, as a list."""
    return f"[{value}]" if name == "lr_milestones" and re.fullmatch(r"[\d, ]+", value) else value
