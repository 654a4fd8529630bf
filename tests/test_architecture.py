"""Imports point one way: floor by floor, without circles, and inference without torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

REPO = Path(__file__).parents[1]
TORCH_FREE = ("inference", "photos", "decoding", "serve")


def test_contracts_of_the_floors_hold():
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    result = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("oaml_core", "components", "pipelines", "images", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        pytest.fail(f"import circle: {' → '.join(circle.args[1])}")


def test_every_torch_free_package_has_its_contract():
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = next(c["source_modules"] for c in contracts if "torch" in c.get("forbidden_modules", ()))
    present = {f"oaml_core.{name}" for name in TORCH_FREE if (REPO / "oaml_core" / name).is_dir()}
    assert set(named) == present


@pytest.mark.parametrize("name", [name for name in TORCH_FREE if (REPO / "oaml_core" / name).is_dir()])
def test_importing_every_module_of_a_torch_free_package_leaves_torch_out(name: str):
    modules = sorted(
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
        for path in (REPO / "oaml_core" / name).rglob("*.py")
    )
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules!r}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_library_face_is_light_and_complete():
    code = (
        "import sys, oaml_core as oaml; "
        "assert not {'torch', 'numpy', 'onnxruntime'} & set(sys.modules), 'import oaml_core is heavy'; "
        "missing = [n for n in oaml.PUBLIC if getattr(oaml, n, None) is None]; assert not missing, missing; "
        "assert callable(oaml.export); import oaml_core.export.onnx_export; assert callable(oaml.export); "
        "undocumented = [n for n in oaml.PUBLIC if not getattr(oaml, n).__doc__]; assert not undocumented, undocumented"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
