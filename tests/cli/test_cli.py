"""The oaml command as a person meets it."""

from __future__ import annotations

import pytest
import yaml

from oaml_core.cli import main
from oaml_core.cli.program import COMMANDS


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "--optim.lr" in capsys.readouterr().out


def test_a_mistyped_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trian") == 2
    assert "'train'" in capsys.readouterr().err


def test_a_mistyped_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--optim.learning_rate", "1") == 2
    assert "--optim.learning_rate" in capsys.readouterr().err


def test_print_config_shows_the_resolved_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--optim.lr", "0.03", "--print-config") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["optim"]["lr"] == 0.03
    assert shown["model"]["arch"] == "ir_50"


def test_a_missing_folder_is_an_error_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "/no/such/faces") == 1
    assert "/no/such/faces" in capsys.readouterr().err
