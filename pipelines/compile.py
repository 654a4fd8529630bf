"""`python -m pipelines.compile [OUT]`: the graph as YAML for Kubeflow; the same input gives the same bytes."""

import sys
from pathlib import Path

from kfp import compiler

from pipelines.oaml_pipeline import oaml_pipeline

COMPILED = Path(__file__).with_name("oaml_pipeline.yaml")


def compile_pipeline(path: Path = COMPILED) -> None:
    """Write the compiled graph to `path`."""
    compiler.Compiler().compile(oaml_pipeline, str(path))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else COMPILED
    compile_pipeline(target)
    print(target)
