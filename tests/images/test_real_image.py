"""The smallest image really built and run, where a builder and a base image are (images/README.md)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from images import build as images
from images.build import BASE
from images.debian_base import NAME as DEBIAN
from oaml_core.config import Config
from oaml_core.errors import ImageError
from oaml_core.settings import config_to_yaml
from pipelines.compile import COMPILED

OWN_BASE = "OAML_TEST_IMAGE_BASE"
"""Environment variable with another base image."""
FROM_HERE = ("/etc/ssl/certs", "/etc/pip.conf")
"""What a build behind a proxy needs, and which does no harm elsewhere."""
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""podman's own are more than it may set in some sandboxes."""
LOCKED = ("--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """Builder, image and lock file, after `make build-images` for the image of `promote`."""
    try:
        program = images.builder()
    except ImageError as error:
        pytest.skip(str(error))
    lock, found = tmp_path_factory.mktemp("image") / "images.lock.json", base(program)
    images.write_lock(lock, {"promote": images.content_tag("promote", found)})  # so that one that is here is taken
    tags = images.build(["promote"], found, options(program), lock)
    return program.build[0], f"{images.REGISTRY}/promote:{tags['promote']}", lock


def base(program: images.Builder) -> str:
    """A base image that is here: none is pulled by a test."""
    for name in (os.environ.get(OWN_BASE), BASE, DEBIAN):
        if name and subprocess.run([*program.exists, name], capture_output=True, check=False).returncode == 0:
            return name
    pytest.skip(f"there is no base image here: pull {BASE}, or `make base-image`, or name another one in {OWN_BASE}")


def options(program: images.Builder) -> list[str]:
    if program.build[0] == "docker":
        return []
    mounted = [f"--volume={path}:{path}:ro" for path in FROM_HERE if os.path.exists(path)]
    return ["--pull=never" if program.build[0] == "podman" else "--pull-never", "--network=host", *mounted]


@pytest.fixture
def run(built: tuple[str, str, Path]) -> Run:
    """Run the image as a pod does: its own user, nothing writable but /tmp, no rights, no network."""
    program, reference, _ = built
    if program == "buildah":
        pytest.skip("buildah alone runs no containers")

    def started(*words: str, entry: str | None = None) -> subprocess.CompletedProcess[str]:
        chosen = () if entry is None else ("--entrypoint", entry)
        tmp = () if program == "podman" else ("--tmpfs=/tmp",)
        command = [program, "run", "--rm", *LOCKED, *LIMITS, *tmp, *chosen, reference, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return started


def test_it_explains_itself_without_rights_and_without_writing(run: Run) -> None:
    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    assert "rollback" in shown.stdout
    inside = run("-c", "id -u; touch /oaml/x /opt/oaml/x 2>&1; touch /tmp/x && echo written", entry="sh").stdout
    assert inside.startswith("1000\n")
    assert inside.count("Read-only file system") == 2
    assert inside.endswith("written\n")


def test_its_step_runs_in_it_as_kubeflow_runs_it(run: Run) -> None:
    """The gate, whose command is the compiled pipeline's, on a store without a model in production."""
    executor = next(yaml.safe_load_all(COMPILED.read_text()))["deploymentSpec"]["executors"]["exec-gate"]["container"]
    document = {
        "inputs": {
            "parameterValues": {
                "config": config_to_yaml(Config(store="/tmp/store", work_dir="/tmp/work")),
                "metrics_uri": "/tmp/metrics.json",
            },
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"/tmp/{name}"} for name in ("passes", "reason")},
            "artifacts": {"decision": {"artifacts": [artifact("system.Markdown", {})]}},
            "outputFile": "/tmp/out.json",
        },
    }
    words = [json.dumps(document) if "$" in word else word for word in executor["args"]]
    shell, flag, install, program, *rest = executor["command"]
    done = run(flag, f"{install}\ncat /tmp/out.json", program, *rest, *words, entry=shell)
    assert done.returncode == 0, done.stderr
    assert '"passes": true' in done.stdout
    assert "there is no model in production yet" in done.stdout


def artifact(kind: str, metadata: dict[str, str]) -> dict[str, object]:
    return {"name": "one", "type": {"schemaTitle": kind}, "uri": f"/tmp/{kind}", "metadata": metadata}


def test_without_a_change_nothing_is_built_again(built: tuple[str, str, Path], capsys: pytest.CaptureFixture) -> None:
    _, reference, lock = built
    images.build(["promote"], base(images.builder()), ["--no-such-option"], lock)
    assert capsys.readouterr().out == f"unchanged  {reference}\n"
