"""What OAML hands to a cluster, as text that people read: compiled pipelines, training jobs and manifests.

`make golden` writes the files anew that lie beside this one.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import yaml
from kfp import compiler

from components.cluster import ClusterConfig, load_cluster
from components.images import built_images
from components.train.backends import BACKENDS
from components.train.run import training_run
from oaml_core.config import Config, TrainConfig
from pipelines.oaml_pipeline import oaml_pipeline

HERE = Path(__file__).parent
REPO = HERE.parents[1]
CLUSTERS = REPO / "configs" / "cluster"
SERVING = ("serving/deployment", "serving/gallery", "serving/kserve")
OVERLAYS = ("overlays/cluster", "overlays/local", "trainer", "watch", "katib", *SERVING)


def with_profiles(backend: Literal["pytorchjob", "trainjob"] = "pytorchjob") -> ClusterConfig:
    """A Kubeflow with profiles and the training operator, or the trainer."""
    return replace(load_cluster(CLUSTERS / "default.yaml"), training_backend=backend)


def without_profiles() -> ClusterConfig:
    """A Kubeflow without profiles, with the trainer."""
    return replace(load_cluster(CLUSTERS / "local.yaml"), training_backend="trainjob")


def pipeline(cluster: ClusterConfig) -> str:
    """Compile the pipeline for images that are named by version."""
    with tempfile.TemporaryDirectory() as folder, built_images(None):
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(oaml_pipeline(cluster), str(path))
        return path.read_text()


def job(cluster: ClusterConfig) -> str:
    """Describe the training job of a run on one to four nodes; the recipe in its command line is left out."""
    config = Config(name="night", store="s3://oaml", train=TrainConfig(min_nodes=1, max_nodes=4))
    with built_images(None):
        run = training_run(config, "s3://oaml/datasets/0123456789abcdef", "runs/night-0123456789abcdef", cluster)
        words = ["--config=(recipe)" if word.startswith("--config=") else word for word in run.arguments]
        run = replace(run, arguments=tuple(words))
        manifest = BACKENDS[cluster.training_backend].manifest(run, cluster)
    return _readable(manifest)


def manifests(folder: str) -> str:
    """Render a folder of manifests as `kubectl apply -k` would."""
    command = ["kubectl", "kustomize", str(REPO / "k8s" / folder)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return _readable(*yaml.safe_load_all(rendered))


def _readable(*objects: object) -> str:
    """Write objects in one form, whichever version of a tool made them."""
    return yaml.safe_dump_all(objects, sort_keys=True, width=120, allow_unicode=True)


TEXTS: dict[str, Callable[[], str]] = {
    "pipeline-profiles-pytorchjob.yaml": lambda: pipeline(with_profiles()),
    "pipeline-profiles-trainjob.yaml": lambda: pipeline(with_profiles("trainjob")),
    "pipeline-no-profiles-trainjob.yaml": lambda: pipeline(without_profiles()),
    "pipeline-shards.yaml": lambda: pipeline(replace(with_profiles(), shards=16, evaluation_shards=7)),
    "job-pytorchjob.yaml": lambda: job(with_profiles()),
    "job-trainjob.yaml": lambda: job(without_profiles()),
    "job-profiles-trainjob.yaml": lambda: job(with_profiles("trainjob")),
}
"""Golden files, and what makes the text of each."""
RENDERED = {f"k8s-{name.replace('/', '-')}.yaml": partial(manifests, name) for name in OVERLAYS}
"""Those that kubectl makes."""


def main() -> None:
    """Write all golden files anew; those of manifests stay where kubectl is not installed."""
    for name, text in (TEXTS | (RENDERED if shutil.which("kubectl") else {})).items():
        path, made = HERE / name, text()
        is_same = path.is_file() and path.read_text() == made
        path.write_text(made)
        print(f"{'same   ' if is_same else 'changed'}  {path.relative_to(REPO)}")


if __name__ == "__main__":
    main()
