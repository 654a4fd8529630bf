"""The `oaml` command: one sub-command per stage, and tools beside them.

`oaml_core.cli.program` has the commands. It is imported by `main`, so that Ctrl-C is answered from the start.
"""

from __future__ import annotations

from oaml_core.orderly_end import end_in_order

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than this module's
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `oaml` with `arguments`; exits 0, 1 for an error, 2 for a mistyped command line, 130 after Ctrl-C.

    Args:
        arguments: the command line; None: that of the process. `--debug` shows the traceback of an error.
    """

    def program() -> int:
        from oaml_core.cli.program import run_words

        return run_words(arguments)

    end_in_order(program)
