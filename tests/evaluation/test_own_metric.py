"""A metric of OAML's own, added to a copy of the checkout: two files, and every test of the schema holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout_copy import GUIDE, CheckoutCopy

METRIC = next(block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.S) if "register_metric" in block)
COMMAND = ("-m", "pytest", "-p", "no:cacheprovider", "tests/evaluation/test_metrics_schema.py", "-k", "every_key_is")


@pytest.mark.slow
def test_the_guides_metric_is_two_files_and_is_documented(tmp_path: Path) -> None:
    copy = CheckoutCopy(
        tmp_path, "oaml_core", "pyproject.toml", "docs/metrics.md", "tests/evaluation/conftest.py",
        "tests/evaluation/colour_model.py", "tests/evaluation/template_data.py",
        "tests/evaluation/test_metrics_schema.py",
    )  # fmt: skip
    copy.append("oaml_core/evaluation/verdict/own_metrics.py", METRIC)
    undocumented = copy.run(*COMMAND)
    assert "{'median_gap'} == set()" in undocumented.stdout
    copy.append("docs/metrics.md", "| `median_gap` | median genuine score less median impostor score |")
    assert copy.changed() == {"oaml_core/evaluation/verdict/own_metrics.py", "docs/metrics.md"}
    documented = copy.run(*COMMAND)
    assert documented.returncode == 0, documented.stdout
