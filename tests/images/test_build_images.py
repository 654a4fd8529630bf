"""Building images: only what has changed, tagged by content."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from components.steps import IMAGES
from images import build as images
from images.build import BASE, content_tag, inputs
from oaml_core.errors import ImageError
from pipelines.compile import compile_pipeline

Calls = Callable[[], list[str]]
PROGRAM = """#!/bin/sh
echo "$@" >> {folder}/calls
case "$1 $2" in
  "image exists") grep -qx "$3" {folder}/built ;;
  "build "*)
    [ ! -e {folder}/broken ] || exit 1
    while [ "$1" != --tag ]; do shift; done
    echo "$2" >> {folder}/built ;;
esac
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A copy of all that goes into images."""
    for path in {path for component in IMAGES for path in inputs(component)}:
        target = tmp_path / "repo" / path.relative_to(images.REPO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path / "repo"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A program in podman's place that builds nothing and remembers what it was asked; gives that since last time."""
    program, log = tmp_path / "bin" / "podman", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("OAML_IMAGE_BUILDER", "podman")

    def since() -> list[str]:
        said = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in said if line.startswith(("build", "tag", "push"))]

    return since


def tags(repo: Path) -> dict[str, str]:
    return {component: content_tag(component, BASE, repo) for component in IMAGES}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {component for component in IMAGES if before[component] != after[component]}


def touch(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n")


@pytest.mark.parametrize("path", ["components/export/component.py", "images/export/requirements.txt"])
def test_a_changed_component_changes_one_image(repo: Path, path: str) -> None:
    before = tags(repo)
    assert before == tags(images.REPO)
    touch(repo / path)
    assert changed(before, tags(repo)) == {"export"}


@pytest.mark.parametrize("path", ["oaml_core/store/s3.py", "constraints.txt", "images/Dockerfile"])
def test_what_all_share_changes_all_images(repo: Path, path: str) -> None:
    before = tags(repo)
    touch(repo / path)
    assert changed(before, tags(repo)) == set(IMAGES)


def test_another_base_is_another_image_and_leftovers_are_not(repo: Path) -> None:
    assert content_tag("export", "mine:1", repo) != content_tag("export", BASE, repo)
    before = tags(repo)
    (repo / "oaml_core" / "__pycache__").mkdir()
    (repo / "oaml_core" / "__pycache__" / "x.pyc").touch()
    assert tags(repo) == before


def test_only_what_has_changed_is_built(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path
) -> None:
    lock = tmp_path / "images.lock.json"
    monkeypatch.setattr(images, "REPO", repo)
    monkeypatch.setattr(images, "content_tag", lambda component, base: content_tag(component, base, repo))
    images.build(IMAGES, BASE, ["--pull=never"], lock)
    first = calls()
    assert len(first) == len(IMAGES)
    assert all(f"--build-arg BASE={BASE}" in line and "--pull=never" in line for line in first)
    assert [f"--build-arg COMPONENT={name} " in line for name, line in zip(IMAGES, first, strict=True)] == [True] * len(
        IMAGES
    )
    assert json.loads(lock.read_text()) == tags(repo)
    images.build(IMAGES, BASE, [], lock)
    assert calls() == []
    touch(repo / "components/export/component.py")
    images.build(IMAGES, BASE, [], lock)
    (again,) = calls()
    assert f"oaml/export:{content_tag('export', BASE, repo)}" in again


def test_a_build_that_fails_is_named_and_what_was_built_stays(calls: Calls, tmp_path: Path) -> None:
    lock = tmp_path / "images.lock.json"
    images.build(["promote"], BASE, [], lock)
    (tmp_path / "broken").touch()
    with pytest.raises(ImageError, match="image of export could not be built"):
        images.build(["promote", "export"], BASE, [], lock)
    assert set(json.loads(lock.read_text())) == {"promote"}


def test_images_go_to_the_registry(calls: Calls, tmp_path: Path) -> None:
    lock = tmp_path / "images.lock.json"
    with pytest.raises(ImageError, match="make build-images"):
        images.push("registry.example.com/oaml", lock)
    images.build(["promote"], BASE, [], lock)
    calls()
    there = f"registry.example.com/oaml/promote:{content_tag('promote')}"
    assert images.push("registry.example.com/oaml/", lock) == [there]
    assert calls() == [f"tag oaml/promote:{content_tag('promote')} {there}", f"push {there}"]


def test_without_a_builder_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OAML_IMAGE_BUILDER", raising=False)
    with pytest.raises(ImageError, match="install podman or buildah"):
        images.builder()


def test_a_mistyped_component_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        images.main(["exprot"])
    assert "'export'" in capsys.readouterr().err


def test_the_compiler_takes_the_images_that_were_built(tmp_path: Path) -> None:
    lock, out = tmp_path / "images.lock.json", tmp_path / "pipeline.yaml"
    lock.write_text(json.dumps({"export": "0123456789abcdef", "train": "fedcba9876543210"}))
    compile_pipeline(out, images=lock)
    spec = next(yaml.safe_load_all(out.read_text()))
    used = {name: each["container"]["image"] for name, each in spec["deploymentSpec"]["executors"].items()}
    assert used["exec-export"] == "oaml/export:0123456789abcdef"
    assert used["exec-promote"] == "oaml/promote:0.1.0"
    assert "oaml/train:fedcba9876543210" in out.read_text()
