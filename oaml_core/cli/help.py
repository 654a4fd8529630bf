"""Help texts: a command's own options on one page, configuration keys by section on others."""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from oaml_core.cli.command import Command
from oaml_core.config import Config
from oaml_core.errors import ConfigError, nearest

HELP = ("-h", "--help")
HELP_CONFIG = "--help-config"


class _Options:
    """Takes the place of a parser and remembers the options that a command adds."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def add_argument(self, *names: str, **options: Any) -> None:
        plain = options.get("metavar") or names[-1].lstrip("-").upper()
        value = "{" + ",".join(options["choices"]) + "}" if "choices" in options else plain
        takes_value = options.get("action") is None and names[0].startswith("-")
        text = str(options.get("help", ""))
        if not names[0].startswith("-") and any(word not in text for word in options.get("choices", ())):
            text = f"{', '.join(options['choices'])}: {text}"
        default = options.get("default")
        if takes_value and default is not None and "default" not in text:
            text += f" (default: {default})"
        if options.get("required"):
            text += " (required)"
        self.rows.append((", ".join(names) + (f" {value}" if takes_value else ""), text))


def command_help(name: str, command: Command) -> str:
    """Return the options of one command, and how to see the configuration keys."""
    options: Any = _Options()
    if command.options is not None:
        command.options(options)
    words = "".join(f" {label.upper()}" for label, _ in options.rows if not label.startswith("-"))
    sections = ", ".join(section for section, _ in _sections())
    configuration = [
        ("--config RECIPE", "YAML file, or the name of a recipe that comes with OAML, such as ir50_ms1mv2"),
        ("--SECTION.KEY VALUE", "override one key, such as --optim.lr 0.05"),
        ("--print-config", "show the resolved configuration and stop"),
        ("--debug", "show the traceback of an error"),
        ("--help-config [SECTION]", f"describe the keys of a section: {sections}"),
    ]
    lines = [f"usage: oaml {name}{words} [options] [--config RECIPE] [--SECTION.KEY VALUE …]", "", command.purpose]
    for title, rows in (("options", options.rows), ("configuration", configuration)):
        if rows:
            lines += ["", f"{title}:", *(line for row in rows for line in _row(*row))]
    return "\n".join(lines)


def _row(label: str, text: str) -> Iterator[str]:
    """Yield an option and its description, wrapped beside it."""
    first = f"  {label:<24} "
    indent = " " * len(f"  {'':<24} ")
    if len(first) > len(indent):
        yield first.rstrip()
        first = indent
    yield from textwrap.wrap(text, 110, initial_indent=first, subsequent_indent=indent) or [first.rstrip()]


def config_help(section: str | None = None) -> str:
    """Return the keys of a section of the configuration with their defaults and descriptions.

    Args:
        section: such as `data`; None: the sections, and the keys outside of them.

    Raises:
        ConfigError: there is no such section.
    """
    sections = dict(_sections())
    if section is None:
        keys = "\n".join(_rows(Config, ""))
        width = max(map(len, sections))
        overview = [f"  {name:<{width}}  {_first_line(cls)}" for name, cls in sections.items()]
        return "\n".join(["Keys outside of sections:", keys, "", "Sections (--help-config SECTION):", *overview])
    if section not in sections:
        raise ConfigError(f"There is no section {section!r}.{nearest(section, sections)} `--help-config` lists them.")
    return "\n".join([_first_line(sections[section]), "", *_rows(sections[section], f"{section}.")])


def _sections() -> Iterator[tuple[str, Any]]:
    """Yield name and class of every section."""
    for field in dataclasses.fields(Config):
        if dataclasses.is_dataclass(field.default_factory):
            yield field.name, field.default_factory


def _rows(cls: Any, prefix: str) -> Iterator[str]:
    """Yield key, default and description of every key of a section."""
    from docstring_parser import parse_from_object

    described = {entry.arg_name: entry.description or "" for entry in parse_from_object(cls).params}
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.default_factory):
            continue
        default = field.default if field.default is not dataclasses.MISSING else "required"
        yield f"  --{prefix}{field.name}  (default: {default})"
        text = " ".join(described.get(field.name, "").split())
        yield from textwrap.wrap(text, width, initial_indent="      ", subsequent_indent="      ")


def _first_line(cls: Any) -> str:
    return str(cls.__doc__).strip().partition("\n")[0]
