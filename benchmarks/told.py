"""The end of a benchmark's command: what is refused is one line that says what to do, and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from oaml_core.cli.failures import explain
from oaml_core.errors import OamlError


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process, with code 1 and one line where a path or a value is wrong.

    Args:
        main: the command; it returns the exit code, or None for 0.
    """
    try:
        code = main()
    except OamlError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(explain(error))
    sys.exit(code or 0)
