"""Models that `oaml benchmark` measures, opened from what `--model` says: a file or address, and words behind `@`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.config import Config
from oaml_core.errors import ConfigError, nearest
from oaml_core.folder_entries import shown

if TYPE_CHECKING:
    from oaml_core.inference.any_onnx import Channels, Pixels
    from oaml_core.inference.comparer import Comparer

log = logging.getLogger(__name__)

CHANNELS: dict[str, Channels] = {"rgb": "rgb", "bgr": "bgr"}
PIXELS: dict[str, Pixels] = {"raw": "bytes", "signed": "signed", "unit": "unit"}
WORDS = (*CHANNELS, *PIXELS)
"""Words that may follow a plain ONNX model's name after `@`."""


def each_once(names: Sequence[str]) -> list[str]:
    """Return the names of models without those that say the same again, which are told in the log.

    Raises:
        ConfigError: there is none.
    """
    if not names:
        raise ConfigError("Name at least one model: --model model.onnx, --model run.ckpt or --model other.onnx@bgr.")
    for name in sorted({name for name in names if names.count(name) > 1}):
        log.warning("--model %s is there more than once, and is measured once.", shown(name))
    return list(dict.fromkeys(names))


def named(name: str) -> tuple[str, list[str]]:
    """Return the file or address that a name begins with, and the words that follow it after `@`.

    An `@` of a file's or an address's own separates nothing.

    Raises:
        ConfigError: a word is unknown, or two contradict each other.
    """
    address, at, said = name.rpartition("@")
    words = [word.strip() for word in said.split(",") if word.strip()]
    if not at or Path(name).is_file():
        return name, []
    if not Path(address).is_file() and not address.endswith(".onnx") and not set(words) & set(WORDS):
        return name, []
    for word in words:
        if word not in WORDS:
            raise ConfigError(f"--model {name}: {word!r} is none of {', '.join(WORDS)}.{nearest(word, WORDS)}")
    for known in (CHANNELS, PIXELS):
        several = sorted({word for word in words if word in known})
        if len(several) > 1:
            raise ConfigError(f"--model {name}: {' and '.join(several)} contradict each other. Leave one.")
    return address, words


def model_file(config: Config, name: str) -> Path:
    """Return the file of a model, fetched if it is an address in the store."""
    from oaml_core import stages

    address, _ = named(name)
    if not address.endswith(".onnx"):
        return stages.fetch_file(config, address)
    return Path(address) if Path(address).is_file() else stages.fetch_model(config, address)


def open_named(config: Config, name: str) -> Comparer:
    """Return an exported OAML model, a checkpoint, or any other ONNX recogniser, told apart by what the file says.

    Raises:
        ConfigError: words stand behind a model that knows its pixels itself, or a recogniser tells no faces apart with
            a range that nobody named.
    """
    from oaml_core.inference.model_files import is_oaml_onnx
    from oaml_core.inference.onnx_model import OamlOnnx
    from oaml_core.stages.load_model import load_model

    address, words = named(name)
    path = model_file(config, name)
    own = not address.endswith(".onnx") or is_oaml_onnx(path)
    if own and words:
        raise ConfigError(
            f"--model {name}: a model of OAML's own knows how it wants its pixels. Leave @{','.join(words)} out."
        )
    if own:
        return OamlOnnx(path) if address.endswith(".onnx") else load_model(path)
    return _plain(path, name, words)


def _plain(path: Path, name: str, words: Sequence[str]) -> Comparer:
    from oaml_core.export.pixel_range import doubt_of, least_cosine
    from oaml_core.inference.any_onnx import PlainOnnx

    channels: Channels = next((CHANNELS[word] for word in words if word in CHANNELS), "rgb")
    told = next((word for word in words if word in PIXELS), None)
    taken = told or "raw"
    model = PlainOnnx(path, channels, PIXELS[taken])

    def least(word: str) -> float:
        return least_cosine(model if word == taken else PlainOnnx(path, channels, PIXELS[word]))

    doubt = doubt_of(least, tuple(PIXELS), taken, name, "@")
    if doubt and told is None:
        raise ConfigError(f"--model {doubt} {name}@raw measures it as it is.")
    if doubt:
        log.warning("--model %s", doubt)
    return model


def saw_cutouts(model: Comparer) -> bool:
    """Return True if a model was trained on cut-outs, and must be measured on those that training holds out."""
    from oaml_core.inference.onnx_model import OamlOnnx

    if isinstance(model, OamlOnnx):
        return model.metadata.get("config", {}).get("data", {}).get("occluders") is not None
    return bool(getattr(model, "saw_cutouts", False))
