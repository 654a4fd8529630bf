"""Run of the pipeline's graph on this machine: each task a subprocess of this one.

`pipelines.local_pipeline` starts it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")  # before the SDK is imported, which warns about itself

from kfp import local  # noqa: E402

from oaml_core.held_folder import held_folder  # noqa: E402
from oaml_core.stages.present_night import IN_PIPELINE  # noqa: E402
from pipelines.oaml_pipeline import oaml_pipeline  # noqa: E402

INSIDE = " inside 'exit-handler"
COLOUR = re.compile(r"\x1b\[\d+m")


def main() -> None:
    """Run the graph with the configuration in the file that the first argument names, prepared and evaluated by as many
    shards as the others say; exit 1 if a task fails.
    """
    signal.signal(signal.SIGTERM, _end_tasks)
    os.environ[IN_PIPELINE] = "1"
    logging.disable(logging.ERROR)  # the SDK's own; tasks have their own process, and log there
    with held_folder("oaml-pipeline-") as folder:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder), raise_on_error=True)
        try:
            oaml_pipeline(None, *map(int, sys.argv[2:]))(config=Path(sys.argv[1]).read_text())
        except RuntimeError as error:  # the task has said why
            failed = COLOUR.sub("", str(error)).rpartition("Inner task failed: ")[2]
            print(f"failed: {failed.partition(INSIDE)[0].rstrip('.')}.")
            sys.exit(1)


def _end_tasks(number: int, _: object) -> None:
    """Pass a signal on to the task that runs, and end when it has ended: the SDK waits for it on the way out."""
    signal.signal(number, signal.SIG_IGN)
    os.killpg(0, number)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
