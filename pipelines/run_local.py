"""`python -m pipelines.run_local`: the pipeline on one machine, with an S3 server of its own on loopback.

`pipelines.local_pipeline` runs it. It is imported by `main`, so that Ctrl-C is answered from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oaml_core.orderly_end import end_in_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the pipeline as the options say; exits 0, 1 for an error, 2 for a mistyped command line, 130 after Ctrl-C.

    Args:
        arguments: the command line; None: that of the process.
    """

    def program() -> int:
        from pipelines.local_pipeline import run_words

        return run_words(arguments)

    end_in_order(program)


if __name__ == "__main__":
    main()
