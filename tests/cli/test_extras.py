"""A command whose optional package is absent says which extra brings it, before it does anything."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import oaml_core
from oaml_core.cli import main
from oaml_core.cli.extras import EXTRAS, NEEDS
from oaml_core.cli.program import COMMANDS

PACKAGE = Path(oaml_core.__file__).parent
WITH_TORCH = {"triton"}
"""Modules that another optional one brings."""


def by_extra() -> dict[str, set[str]]:
    """Distributions by the extra that brings them; those without an extra under an empty name."""
    found: dict[str, set[str]] = {}
    for line in requires("oaml") or ():
        requirement = Requirement(line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", str(requirement.marker or ""))
        found.setdefault(extra[1] if extra else "", set()).add(requirement.name.lower().replace("_", "-"))
    return found


def imported_modules() -> set[str]:
    nodes = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {PACKAGE.name}


def test_every_module_is_brought_by_its_extra() -> None:
    distributions, extras = packages_distributions(), by_extra()

    def brought(module: str, extra: str) -> bool:
        names = {name.lower().replace("_", "-") for name in (module, *distributions.get(module, ()))}
        return bool(names & extras[extra])

    assert {module for module in imported_modules() - WITH_TORCH if not brought(module, "")} - set(EXTRAS) == {
        "docstring_parser",  # of jsonargparse[signatures]
    }
    of_others = {"starlette", "pydantic"}  # of fastapi
    assert [module for module, extra in EXTRAS.items() if not brought(module, extra)] == sorted(of_others, reverse=True)


@pytest.mark.parametrize("words", NEEDS)
def test_a_command_without_its_package_says_what_to_install(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *action = words.split()
    done: list[object] = []
    changed = COMMANDS[command]._replace(options=None, run=lambda *given: done.append(given) or 0)
    if action:
        changed = changed._replace(options=lambda parser: parser.add_argument("action"))
    monkeypatch.setitem(COMMANDS, command, changed)
    for module in NEEDS[words]:
        with monkeypatch.context() as absent:
            absent.setitem(sys.modules, module, None)
            with pytest.raises(SystemExit) as end:
                main([command, *action])
        assert end.value.code == 1
        assert capsys.readouterr().err == (
            f"oaml: `oaml {command}` needs {module}, which is not installed. "
            f"Install it with: pip install 'oaml[{EXTRAS[module]}]'\n"
        )
    assert not done


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent_part.of_it", "`oaml doctor` needs absent_part.of_it, which is not installed. .*oaml\\[all\\]"),
        ("oaml_core.gone", "ModuleNotFoundError.*did not foresee"),
        ("jsonargparse.gone", "ModuleNotFoundError.*did not foresee"),
    ],
)
def test_a_package_of_packages_is_named_and_a_part_is_no_package(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setitem(COMMANDS, "doctor", COMMANDS["doctor"]._replace(options=None, run=run))
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert re.search(told, capsys.readouterr().err)
