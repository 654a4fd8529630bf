"""The Dockerfiles: linted, pinned, small in what they trust."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from images.build import COMPONENTS

REPO = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).with_name("hadolint")


def dockerfile(component: str) -> str:
    return (REPO / "images" / component / "Dockerfile").read_text()


def requirements(component: str) -> set[str]:
    lines = (REPO / "images" / component / "requirements.txt").read_text().split()
    return {re.sub(r"\[.*", "", line) for line in lines}


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_linter_has_nothing_to_say(component: str) -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed")
    path = REPO / "images" / component / "Dockerfile"
    done = subprocess.run([HADOLINT, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("component", COMPONENTS)
def test_versions_are_those_of_the_constraints(component: str) -> None:
    pinned = {line.split("==")[0].lower() for line in (REPO / "constraints.txt").read_text().split()}
    assert requirements(component) <= pinned
    assert not re.search(r"==|>=|~=", (REPO / "images" / component / "requirements.txt").read_text())
    assert "-c constraints.txt" in dockerfile(component)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_last_stage_installs_nothing_and_runs_as_a_plain_user(component: str) -> None:
    stages = re.split(r"^FROM ", dockerfile(component), flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert all(stage.startswith("${BASE}") for stage in stages)
    last = stages[-1]
    assert not re.search(r"\bpip\b|apt-get|gcc|build-essential", last)
    assert "USER 1000:1000" in last
    assert 'ENTRYPOINT ["oaml"]' in last
    for label in ("title", "description", "licenses", "revision"):
        assert f"org.opencontainers.image.{label}=" in last
    assert "--mount=type=cache,target=/root/.cache/pip" in stages[0]


def test_training_alone_brings_cuda() -> None:
    cuda = {name for name in COMPONENTS if "torch" in requirements(name) and "TORCH_INDEX" not in dockerfile(name)}
    assert cuda == {"train"}
    assert "NVIDIA_VISIBLE_DEVICES" in dockerfile("train")
    assert "torch" not in requirements("promote")


def test_promoting_needs_no_more_than_its_image_has() -> None:
    """Its requirements leave torch out, so nothing on its way may import it."""
    code = (
        "import sys; sys.modules['torch'] = None; import oaml_core.stages.promote_stage, oaml_core.evaluation.gate, "
        "oaml_core.evaluation.comparison, oaml_core.store.s3, oaml_core.settings, oaml_core.stages.rollback_stage; "
        "from oaml_core.cli import main; main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=False)
    assert done.returncode == 0, done.stderr


def test_only_what_images_are_made_from_is_sent_to_the_builder() -> None:
    lines = (REPO / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sources = {line[1:].split("/")[0] for line in lines if line.startswith("!")}
    copied = {
        word.split("/")[0]
        for component in COMPONENTS
        for line in re.findall(r"^COPY (?!--from)(.*)", dockerfile(component), re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied <= sources
