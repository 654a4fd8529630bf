"""Imports point one way: floor by floor, without circles, and inference without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
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


def test_other_packages_use_only_what_a_package_names_as_its_own_public_part():
    graph = grimp.build_graph("oaml_core", "components", "pipelines", "images", cache_dir=None)
    wrong = []
    for module in sorted(graph.modules):
        for user in sorted(graph.find_modules_that_directly_import(module)):
            wrong += [f"{user} imports {module}: {package}" for package in closed_to(module, user)]
    remedy = "Not in the `__all__` of the package named last; add it there if others may use it:"
    assert not wrong, "\n".join([remedy, *wrong])


def closed_to(module: str, user: str) -> list[str]:
    """Packages around `module`, but not around `user`, that do not name the next step towards it as public."""
    steps = module.split(".")
    around = [(".".join(steps[:depth]), steps[depth]) for depth in range(2, len(steps)) if steps[0] == "oaml_core"]
    return [
        package
        for package, step in around
        if not f"{user}.".startswith(f"{package}.") and step not in public_names(package)
    ]


@cache
def public_names(package: str) -> frozenset[str]:
    """Return the names in `__all__` of a package, read without importing it."""
    tree = ast.parse((REPO / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def test_every_public_name_is_there():
    for file in (REPO / "oaml_core").glob("*/**/__init__.py"):
        package = ".".join(file.parent.relative_to(REPO).parts)
        modules = {path.stem for path in file.parent.iterdir()}
        missing = [name for name in public_names(package) - modules if not hasattr(import_module(package), name)]
        assert not missing, f"{package}.__all__ names {missing}"


NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}
"""Public in spite of the underscore, by the documentation of `collections.namedtuple`."""
MINIO = {
    "_abort_multipart_upload",
    "_build_headers",
    "_complete_multipart_upload",
    "_create_multipart_upload",
    "_list_multipart_uploads",
    "_list_parts",
    "_upload_part",
}
"""Its client has no public way to go on with an upload; the versions are bounded."""


def test_every_class_has_a_name_of_its_own():
    places: dict[str, list[str]] = {}
    for package in ("oaml_core", "components", "pipelines", "images", "benchmarks"):
        for path in sorted((REPO / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(f"{path.relative_to(REPO)}:{node.lineno}")
    shared = [f"{name}: {', '.join(where)}" for name, where in places.items() if len(where) > 1]
    assert len(places) > 300
    assert not shared, "\n".join(["Give all but one of these classes a more specific name:", *shared])


def test_private_names_of_others_are_used_of_the_bounded_s3_client_alone():
    for folder in ("oaml_core", "components", "pipelines", "images"):
        for path in (REPO / folder).rglob("*.py"):
            allowed = NAMED_TUPLE | (MINIO if path.name in ("s3_parts.py", "s3_client.py") else set())
            used = private_names(ast.parse(path.read_text(encoding="utf-8"))) - allowed
            assert not used, f"{path} uses {used}, which may change with any version of where they come from"
    dependencies = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "minio>=7.2.18,<7.3" in dependencies


def private_names(tree: ast.Module) -> set[str]:
    """Return names with one leading underscore that come from another module, or from another object than its own."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {name for alias in node.names for name in alias.name.split(".")}
            found |= set((node.module or "").split("."))
    return {name for name in found - own if name.startswith("_") and not name.startswith("__")}
