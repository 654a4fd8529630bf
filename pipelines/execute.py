"""Runs the pipeline's graph on this machine: each task a subprocess of this one. Started by `pipelines.run_local`."""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

from kfp import local

from pipelines.oaml_pipeline import oaml_pipeline


def main() -> None:
    """Run the graph with the configuration in the file that the first argument names."""
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory(prefix="oaml-") as folder:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=folder, raise_on_error=True)
        oaml_pipeline(config=Path(sys.argv[1]).read_text())


if __name__ == "__main__":
    main()
