"""The commands of `oaml` by name, and the run of a command line."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence

from oaml_core import __version__
from oaml_core.cli import (
    benchmark_commands,
    data_commands,
    evaluation_commands,
    face_commands,
    forget_commands,
    gallery_commands,
    machine_commands,
    model_commands,
    night_commands,
    photo_commands,
    restore_commands,
    serve_commands,
    stage_commands,
    store_commands,
)
from oaml_core.cli.extras import absent_module, how_to_install, look_for_modules
from oaml_core.cli.failures import DEBUG, explain, keep_traceback
from oaml_core.errors import ConfigError, OamlError, nearest
from oaml_core.held_folder import remove_left
from oaml_core.orderly_end import flush_or_discard_output, flush_output, nobody_reads

COMMANDS = {
    **stage_commands.COMMANDS,
    **evaluation_commands.COMMANDS,
    **benchmark_commands.COMMANDS,
    **face_commands.COMMANDS,
    **gallery_commands.COMMANDS,
    **serve_commands.COMMANDS,
    **photo_commands.COMMANDS,
    **model_commands.COMMANDS,
    **data_commands.COMMANDS,
    **night_commands.COMMANDS,
    **store_commands.COMMANDS,
    **forget_commands.COMMANDS,
    **restore_commands.COMMANDS,
    **machine_commands.COMMANDS,
}
"""All sub-commands, in the order of the overview."""


def run_words(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and tell in one line what went wrong.

    Args:
        arguments: the command line; None: that of the process.

    Returns:
        The exit code: 0, 1 for an error, 2 for a mistyped command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    words = [word for word in words if word != DEBUG]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("torch").setLevel(logging.WARNING)  # interrupted in its import, it tells statistics at the end
    try:
        code = _run(words)
        flush_output()
    except Exception as error:
        if nobody_reads(error):
            raise
        code = _told(error, words, debug)
        flush_or_discard_output()
    return code


def _told(error: Exception, words: Sequence[str], debug: bool) -> int:
    """Print one line about an error, and return the exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OamlError):
        print(f"oaml: {error}", file=sys.stderr)
        return error.exit_code
    if (module := absent_module(error)) is not None:
        print(f"oaml: {how_to_install(words[0], module)}", file=sys.stderr)
        return 1
    print(f"oaml: {explain(error)}" + ("" if debug else f" {keep_traceback(error)}"), file=sys.stderr)
    return 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"oaml {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise ConfigError(f"There is no command {name!r}.{nearest(name, COMMANDS)} `oaml --help` lists them.")
    from oaml_core.cli.help import HELP, HELP_CONFIG, command_help, config_help
    from oaml_core.cli.quick_parse import quick_config
    from oaml_core.settings import config_parser, parse_config

    command = COMMANDS[name]
    if HELP_CONFIG in rest:
        after = rest[rest.index(HELP_CONFIG) + 1 :]
        print(config_help(after[0] if after else None))
        return 0
    if any(word in HELP for word in rest):
        print(command_help(name, command))
        return 0
    rest = rest if command.respelled is None else command.respelled(rest)
    parsed = quick_config(f"oaml {name}", command.options, rest)
    if parsed is None:
        parser = config_parser(f"oaml {name}", command.purpose)
        if command.options is not None:
            command.options(parser)
        parsed = parse_config(parser, rest)
    look_for_modules(words)
    remove_left()  # a command that was killed may be followed by one that finds everything done, and makes no folder
    return command.run(*parsed)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "oaml: face recognition that still works when part of the face is covered",
            "",
            "oaml COMMAND [--config RECIPE.yaml] [--key value …]",
            "",
            *rows,
            "",
            "oaml COMMAND --help lists its options, --help-config [SECTION] the configuration keys;",
            "--print-config shows the resolved configuration.",
        ]
    )
