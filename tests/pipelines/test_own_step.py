"""A step of one's own, as `docs/extending.md` shows it, in a copy of the checkout: three files, and it is compiled."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import yaml
from checkout_copy import GUIDE, CheckoutCopy

from components import images

DATA_SET = "            fingerprint, dataset = "
"""Start of the line of the graph after which the fingerprint is there."""


def test_the_guides_step_is_three_files_and_is_compiled_with_its_image_and_caching(tmp_path: Path) -> None:
    copy = CheckoutCopy(tmp_path, "components", "pipelines", "configs")
    declared, component, imported, placed = re.findall(r"```py\n(.*?)```", GUIDE, re.S)
    copy.append("components/steps.py", declared)
    copy.append("components/promote/summarise.py", component)
    graph = tmp_path / "pipelines" / "oaml_pipeline.py"
    lines = graph.read_text().splitlines(keepends=True)
    (at,) = [number for number, line in enumerate(lines) if line.startswith(DATA_SET)]
    lines.insert(at + 1, textwrap.indent(placed, " " * 12))
    graph.write_text(imported + "".join(lines))
    assert copy.changed() == {
        "components/steps.py", "components/promote/summarise.py", "pipelines/oaml_pipeline.py"
    }  # fmt: skip

    compiled = copy.run("-m", "pipelines.compile", "graph.yaml")
    assert compiled.returncode == 0, compiled.stderr
    pipeline, platform = yaml.safe_load_all((tmp_path / "graph.yaml").read_text())
    tasks = next(part["dag"]["tasks"] for part in pipeline["components"].values() if "dag" in part)
    assert tasks["summarise"]["dependentTasks"] == ["preprocess"]
    assert tasks["summarise"]["cachingOptions"] == {"enableCache": True}
    assert "enableCache" not in tasks["preprocess"]["cachingOptions"]
    executors = pipeline["deploymentSpec"]["executors"]
    assert executors["exec-summarise"]["container"]["image"] == images.image("promote")
    assert "exec-summarise" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
