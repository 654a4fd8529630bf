"""A step of one's own, as `docs/extending.md` shows it: declared, written, and placed in a graph."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from kfp import compiler

from components import images, steps
from components.cluster import ClusterConfig
from components.pods import PodConfig

GUIDE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
IMPORTS = """
from kfp import dsl
from components.images import image
from components.preprocess.component import preprocess
from components.steps import STEPS, Step
from pipelines.placement import place
"""


def test_the_guides_step_is_compiled_with_its_image_and_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "STEPS", known := dict(steps.STEPS))
    monkeypatch.setattr(images, "STEPS", known)
    for module in ("components.cluster", "pipelines.placement"):
        monkeypatch.setattr(f"{module}.STEPS", known)
    source = tmp_path / "guide.py"
    source.write_text(IMPORTS + "\n\n".join(re.findall(r"```py\n(.*?)```", GUIDE, re.S)))
    names: dict[str, object] = {"cluster": ClusterConfig(stages={"train": PodConfig()})}
    exec(compile(source.read_text(), str(source), "exec", dont_inherit=True), names)
    compiler.Compiler().compile(names["prepared_only"], str(tmp_path / "graph.yaml"))
    pipeline, platform = yaml.safe_load_all((tmp_path / "graph.yaml").read_text())
    tasks = pipeline["root"]["dag"]["tasks"]
    assert set(tasks) == {"preprocess", "summarise"}
    assert tasks["summarise"]["cachingOptions"] == {"enableCache": True}
    assert "enableCache" not in tasks["preprocess"]["cachingOptions"]
    executors = pipeline["deploymentSpec"]["executors"]
    assert executors["exec-summarise"]["container"]["image"] == images.image("promote")
    assert "exec-summarise" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
