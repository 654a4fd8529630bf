"""Every public name shows how it is used, and what it shows is so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PROGRAM = """
import doctest
import oaml_core as oaml

runner = doctest.DocTestRunner()
for name in oaml.PUBLIC:
    test = doctest.DocTestParser().get_doctest(getattr(oaml, name).__doc__, {}, name, name, 0)
    assert test.examples, f"the docstring of oaml.{name} has no example"
    assert not any(example.options.get(doctest.SKIP) for example in test.examples), name
    if not name.startswith("register_") or name == "register_metric":  # they share a docstring
        runner.run(test)
raise SystemExit(runner.failures > 0)
"""


@pytest.mark.slow
def test_the_examples_of_all_public_names_run(examples_folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=examples_folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
