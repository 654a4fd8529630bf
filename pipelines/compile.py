"""`python -m pipelines.compile [OUT] [--cluster FILE] [--images FILE]`: the graphs as YAML for Kubeflow; the same
input gives the same bytes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kfp import compiler

from components.cluster import load_cluster
from components.images import built_images
from oaml_core.errors import OamlError
from oaml_core.orderly_end import end_in_order
from pipelines.oaml_pipeline import oaml_pipeline
from pipelines.restoration_pipeline import restoration_pipeline

COMPILED = Path(__file__).with_name("oaml_pipeline.yaml")
RESTORATION = Path(__file__).with_name("restoration_pipeline.yaml")
CLUSTER = Path(__file__).parents[1] / "configs" / "cluster" / "default.yaml"


def compile_pipeline(out: Path = COMPILED, cluster: Path = CLUSTER, images: Path | None = None) -> None:
    """Write the graph, placed on the cluster that the file `cluster` describes, to `out`, and that of the restoration
    branch beside it.

    Args:
        images: `images.lock.json`, for the images that were really built; None: by version.
    """
    with built_images(images):
        found = load_cluster(cluster)
        compiler.Compiler().compile(oaml_pipeline(found), str(out))
        compiler.Compiler().compile(restoration_pipeline(found), str(out.with_name(RESTORATION.name)))


def main() -> None:
    """Compile as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=COMPILED, help=f"default: {COMPILED.name}")
    parser.add_argument(
        "--cluster", type=Path, default=CLUSTER, help="cluster file; default: configs/cluster/default.yaml"
    )
    parser.add_argument("--images", type=Path, help="images.lock.json: the images that were built; default: by version")
    arguments = parser.parse_args()
    try:
        compile_pipeline(arguments.out, arguments.cluster, arguments.images)
    except OamlError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(arguments.out, arguments.out.with_name(RESTORATION.name), sep="\n")


if __name__ == "__main__":
    end_in_order(main)
