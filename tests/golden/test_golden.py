"""Nothing that OAML hands to a cluster changes unseen."""

from __future__ import annotations

import difflib
import shutil

import pytest
from golden.texts import HERE, RENDERED, TEXTS

SHOWN = 60
"""Lines of a difference that are shown."""


def compare(name: str, made: str) -> None:
    kept = (HERE / name).read_text()
    lines = list(difflib.unified_diff(kept.splitlines(), made.splitlines(), "kept", "now", lineterm="", n=4))
    more = f"\n… {len(lines) - SHOWN} lines more" if len(lines) > SHOWN else ""
    if lines:
        pytest.fail("\n".join([f"{name} has changed; `make golden` keeps the new text.", *lines[:SHOWN]]) + more)


@pytest.mark.parametrize("name", TEXTS)
def test_pipelines_and_jobs_are_those_that_were_looked_at(name: str) -> None:
    compare(name, TEXTS[name]())


@pytest.mark.parametrize("name", RENDERED)
def test_manifests_are_those_that_were_looked_at(name: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    compare(name, RENDERED[name]())


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in HERE.glob("*.yaml")} == set(TEXTS) | set(RENDERED)


def test_a_change_is_shown_where_it_is() -> None:
    name = "job-pytorchjob.yaml"
    kept = (HERE / name).read_text()
    with pytest.raises(pytest.fail.Exception, match=r"(?s)make golden.*\n-.*oaml-store.*\n\+.*other-store"):
        compare(name, kept.replace("oaml-store", "other-store", 1))
