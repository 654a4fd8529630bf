"""Recipes and command-line overrides into one checked `Config`, and back to YAML."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from oaml_core.config import Config, check_leaves, is_flat, modern_words, refuse_values_of_sections
from oaml_core.errors import ConfigError, nearest, nearest_key
from oaml_core.recipe_files import find_recipe
from oaml_core.structured_text import check_yaml, parse_yaml
from oaml_core.wanted_values import said_plainly

if typing.TYPE_CHECKING:
    from jsonargparse import ArgumentParser

T = TypeVar("T")

ALIASES = {"loss.occlusion_loss_weight": "loss.visibility_loss_weight"}
"""Keys of a configuration that have another name too, on the command line and in YAML: the other name → the key."""


def config_parser(prog: str, description: str) -> ArgumentParser:
    """Return a parser that has `--config`, `--print-config` and one option for every leaf of `Config`."""
    parser = argument_parser()(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="recipe (YAML); options after it override it")
    parser.add_class_arguments(Config)
    return parser


@functools.cache
def argument_parser() -> type[ArgumentParser]:
    """Return the class of parsers; they read YAML, wherever it stands, within the limits of `check_yaml`."""
    from jsonargparse import ArgumentParser, get_loader, set_loader

    load = get_loader("yaml")

    def load_bounded(text: str) -> Any:
        try:
            check_yaml(text, "A configuration")
        except ConfigError as error:
            if isinstance(error.__cause__, yaml.YAMLError):
                raise error.__cause__ from None  # the parser says which option it is
            raise
        return load(text)

    set_loader("yaml", load_bounded, exceptions=(yaml.YAMLError,))
    return ArgumentParser


def parse_config(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[Config, Any]:
    """Return the configuration that `arguments` describe, and the namespace with the parser's other options.

    Raises:
        ConfigError: a key or value does not exist; the message names the nearest that does.
    """
    known = _options_of(parser) if any(map(is_flat, arguments)) else []
    words = _with_recipes([_spelled(word) for word in modern_words(arguments, known)])
    refuse_values_of_sections(words, _first_keys(), lambda: _options_of(parser))
    values = _instantiated(parser, lambda: parser.parse_args(words))
    check_leaves({f"--{name}": value for name, value in vars(values).items() if name not in _field_names(Config)})
    return Config(**{name: values[name] for name in _field_names(Config)}), values


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Return the recipe at `path` (None: the defaults) with `overrides` such as `["--optim.lr", "0.05"]`.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value does not exist.

    Example:
        >>> import oaml_core as oaml
        >>> oaml.load_config("ir50_ms1mv2", ["--optim.lr", "0.05"]).optim.lr
        0.05
    """
    arguments = [] if path is None else ["--config", str(path)]
    return parse_config(config_parser("oaml", "OAML"), [*arguments, *overrides])[0]


def config_to_yaml(config: Any) -> str:
    """Return all leaves of `config`, any dataclass, as YAML that `config_from_yaml` or `dataclass_from_yaml` reads
    back.
    """
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True)


def config_from_yaml(text: str) -> Config:
    """Return the configuration that YAML `text` describes; keys that it does not name have their defaults.

    Raises:
        ConfigError: as `load_config`.
    """
    return dataclass_from_yaml(Config, text, "The configuration")


def dataclass_from_yaml(cls: type[T], text: str, what: str) -> T:
    """Return the tree of dataclasses `cls` that YAML `text` describes; keys that it does not name have their defaults.

    Args:
        what: how error messages call it.

    Raises:
        ConfigError: it is not YAML, or a key or value does not exist; the message names the nearest that does.
    """
    tree = parse_yaml(text, what) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{what} must be a YAML mapping of keys to values.")
    _rename(tree)
    _refuse_plain_values(cls, tree)
    parser = argument_parser()(exit_on_error=False)
    parser.add_class_arguments(cls)
    values = _instantiated(parser, lambda: parser.parse_object(tree), cls)
    return cls(**{name: values[name] for name in _field_names(cls)})


def digest(*parts: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `parts` (dataclasses and plain values) as YAML."""
    plain = [_plain(dataclasses.asdict(p)) if dataclasses.is_dataclass(p) else p for p in parts]  # type: ignore[arg-type]
    return hashlib.sha256(yaml.safe_dump(plain, sort_keys=True).encode()).hexdigest()[:16]


NOT_LEARNT = (
    *("name", "store", "work_dir", "cache_gb", "train.", "tracking.", "evaluate.", "export.", "nightly."),
    *("data.num_workers", "data.pin_memory", "data.persistent_workers", "data.prefetch_factor", "data.fetch"),
    *(
        "data.source",
        "data.inventory",
        "data.verification_source",
        "data.visibility_source",
        "data.unlabelled_source",
        "data.synthetic_",
        "data.broken_images_tolerated",
    ),
)
"""Keys, and beginnings of keys, that change nothing in what a run learns from a given data set."""
LEARNT = (
    *("train.start_from", "train.average_decay", "train.average_with_start"),
    *("train.stop_after_validations", "train.validation_occluders"),
)
"""Keys that do, although they begin like those."""


def learnt_settings(config: Config) -> dict[str, object]:
    """Return the keys, by dotted name, that decide what a run learns from a given data set."""
    return {key: value for key, value in _leaves(config) if key in LEARNT or not key.startswith(NOT_LEARNT)}


def differing_keys(one: Config, other: Config) -> list[str]:
    """Dotted names of the leaves in which two configurations differ."""
    ours, theirs = dict(_leaves(one)), dict(_leaves(other))
    return [key for key, value in ours.items() if theirs[key] != value]


def _with_recipes(words: Sequence[str]) -> list[str]:
    """Replace the names of recipes after `--config` by their files; YAML text in place of a name stays."""
    found = list(words)
    for place, word in enumerate(found):
        if word == "--config" and place + 1 < len(found):
            found[place + 1] = _file_or_text(found[place + 1])
        elif word.startswith("--config="):
            found[place] = f"--config={_file_or_text(word.removeprefix('--config='))}"
    return found


def _file_or_text(value: str) -> str:
    """Return the file of a recipe, or YAML text: what a job on a cluster is given, or a recipe with other names."""
    is_text = "\n" in value or ": " in value
    path = None if is_text else find_recipe(value)
    try:
        tree = parse_yaml(
            value if path is None else path.read_text(encoding="utf-8"), f"The recipe {path or ''}".strip()
        )
    except UnicodeDecodeError:
        raise ConfigError(f"The recipe {path} is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    if isinstance(tree, dict) and _rename(tree):
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return value if is_text else str(find_recipe(value))


def _spelled(word: str) -> str:
    """Write an option as the parser knows it: without dashes in its name, and never by an alias."""
    name, equals, value = word.partition("=")
    return ("--print_config" if name == "--print-config" else _OPTIONS.get(name, name)) + equals + value


_OPTIONS = {f"--{other}": f"--{key}" for other, key in ALIASES.items()}


def _rename(tree: dict[Any, Any]) -> bool:
    """Give the keys of a YAML tree that stand there by an alias their own names; True where one did.

    Raises:
        ConfigError: a key stands there by both names.
    """
    found = False
    for other, key in ALIASES.items():
        *groups, alias = other.split(".")
        node: Any = tree
        for group in groups:
            node = node.get(group) if isinstance(node, dict) else None
        if isinstance(node, dict) and alias in node:
            name = key.rpartition(".")[2]
            if name in node:
                raise ConfigError(f"{key} stands there twice: as {name} and as {alias}. Remove one.")
            node[name] = node.pop(alias)
            found = True
    return found


def _leaves(node: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in _field_names(type(node)):
        value = getattr(node, name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _field_names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _instantiated(parser: ArgumentParser, parse: Callable[[], Any], cls: type = Config) -> Any:
    """Return what `parse` gives, as dataclasses.

    Raises:
        ConfigError: with the parser's message and the nearest existing key or value.
    """
    try:
        return parser.instantiate(parse())
    except argparse.ArgumentError as error:
        message = " ".join(str(error).split())
        raise ConfigError(said_plainly(message, _options_of(parser)) + "." + _hint(parser, message, cls)) from error
    except TypeError as error:  # what jsonargparse raises for `optim: 3`
        raise ConfigError(_PLAIN_VALUE.format(", ".join(_groups(cls)))) from error


_PLAIN_VALUE = "A plain value stands where a group of keys belongs ({}): put its keys below it, indented."


def _options_of(parser: ArgumentParser) -> list[str]:
    return re.findall(r"--[A-Za-z][\w.-]*", parser.format_help())


def _first_keys() -> dict[str, str]:
    """Return the first key of each section of the configuration, by the section's name."""
    keys = [key for key, _ in _leaves(Config())]
    return {name: next(key for key in keys if key.startswith(f"{name}.")) for name in _groups(Config)}


def _groups(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls) if dataclasses.is_dataclass(f.default_factory)]


def _refuse_plain_values(cls: type, tree: dict[str, Any]) -> None:
    """For groups within groups, which jsonargparse takes for their defaults then."""
    for name in _groups(cls):
        if not isinstance(tree.get(name, {}), dict):
            raise ConfigError(_PLAIN_VALUE.format(name))
        inner = next(f.default_factory for f in dataclasses.fields(cls) if f.name == name)
        _refuse_plain_values(typing.cast(type, inner), tree.get(name, {}))


def _hint(parser: ArgumentParser, message: str, cls: type) -> str:
    keys = [key for key, _ in _leaves(cls())]
    if found := re.search(r"unrecognized arguments: ([^\s=]+)", message):
        return nearest_key(found[1], _options_of(parser))
    if found := re.search(r"Literal\[(.*)\]\. Got value: (\S+)", message):
        return nearest(found[2], re.findall(r"'([^']+)'", found[1]))
    if "accept" not in message:
        return ""
    return nearest_key(".".join(re.findall(r"'([\w.]+)'", message)), keys)
