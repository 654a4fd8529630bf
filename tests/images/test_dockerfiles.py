"""The Dockerfile and what each component asks of it: linted, pinned, small in what it trusts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from components.images import WITH_CUDA
from components.steps import IMAGES
from images.build import DOCKERFILE

REPO = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).with_name("hadolint")
TEXT = (REPO / DOCKERFILE).read_text()
CPU_WHEELS = "--extra-index-url ${TORCH_INDEX}"


def lines(component: str) -> list[str]:
    paths = [REPO / "images" / component / name for name in ("requirements.txt", "torch.txt")]
    return [line for path in paths if path.exists() for line in path.read_text().splitlines()]


def requirements(component: str) -> set[str]:
    return {re.sub(r"\[.*", "", line) for line in lines(component) if not line.startswith("--")}


def test_the_linter_has_nothing_to_say() -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([HADOLINT, str(REPO / DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("component", IMAGES)
def test_versions_are_those_of_the_constraints(component: str) -> None:
    pinned = {line.split("==")[0].lower() for line in (REPO / "constraints.txt").read_text().split()}
    assert requirements(component) <= pinned
    assert "-c constraints.txt" in TEXT


def test_the_last_stage_installs_nothing_and_runs_as_a_plain_user() -> None:
    first, code, last = re.split(r"^FROM ", TEXT, flags=re.MULTILINE)[1:]
    assert first.startswith("${BASE}")
    assert code.startswith("packages AS code")
    assert last.startswith("${BASE}")
    assert not re.search(r"\bpip\b|gcc|build-essential", last)
    assert "USER 1000:1000" in last
    assert 'ENTRYPOINT ["oaml"]' in last
    for label in ("title", "description", "licenses", "revision"):
        assert f"org.opencontainers.image.{label}=" in last
    assert "--mount=type=cache,target=/root/.cache/pip" in first


def test_training_alone_brings_cuda() -> None:
    assert {name for name in IMAGES if "torch" in requirements(name) and CPU_WHEELS not in lines(name)} == {"train"}
    assert not {"promote", "serve"} & {name for name in IMAGES if "torch" in requirements(name)}


def packages(component: str) -> set[str]:
    path = REPO / "images" / component / "packages.txt"
    return set(path.read_text().split()) if path.exists() else set()


@pytest.mark.parametrize("component", IMAGES)
def test_images_that_may_train_bring_compilers_and_the_others_nothing(component: str) -> None:
    brought = {"gcc", "g++", "libc6-dev"} if component == WITH_CUDA else set()
    assert packages(component) == brought


def test_a_change_of_code_moves_neither_packages_nor_compilers() -> None:
    """What stands after the code is copied is built again; what stands before stays."""
    first, _, last = re.split(r"^FROM ", TEXT, flags=re.MULTILINE)[1:]
    assert "oaml_core" not in first
    assert "components" not in first
    before, copied, _ = last.partition("COPY --from=code")
    assert copied
    assert "COPY --from=packages" in before
    assert "apt-get install" in before
    assert "oaml_core" not in before


def test_the_image_with_cuda_has_what_steps_on_gpus_need() -> None:
    """They run in it: components/images.py."""
    assert requirements("evaluate") <= requirements("train")


def test_promoting_needs_no_more_than_its_image_has() -> None:
    """Its requirements leave torch out, so nothing on its way may import it."""
    code = (
        "import sys; sys.modules['torch'] = None; import oaml_core.stages.promote_stage, "
        "oaml_core.evaluation.verdict.gate, oaml_core.evaluation.verdict.comparison, oaml_core.store.s3, "
        "oaml_core.settings, oaml_core.stages.rollback_stage; "
        "from oaml_core.cli import main; main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=False)
    assert done.returncode == 0, done.stderr


def test_only_what_images_are_made_from_is_sent_to_the_builder() -> None:
    ignored = (REPO / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sources = {line[1:].split("/")[0] for line in ignored if line.startswith("!")}
    copied = {
        word.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.*)", TEXT, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied <= sources
