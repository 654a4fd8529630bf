"""Bills of materials, licences and audits of an environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from images.audit import FOUND, NONE_KNOWN, NOT_ASKED, audit
from images.packages import installed, licences, sbom


def install(folder: Path, name: str, *lines: str) -> None:
    """Leave what an installer leaves of a package."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines])
    (info / "METADATA").write_text(f"{text}\n")


@pytest.fixture
def environment(tmp_path: Path) -> list[str]:
    install(tmp_path, "oaml", "License-Expression: Apache-2.0", "Requires-Dist: Free_Thing>=1; extra == 'x'")
    install(tmp_path, "free.thing", "Classifier: License :: OSI Approved :: MIT License", "Requires-Dist: absent")
    install(tmp_path, "nvidia-blas", "License: Terms of its own")
    install(tmp_path, "cuda-kit")
    install(tmp_path, "cuda-free", "License-Expression: Apache-2.0")
    install(tmp_path, "gnu-thing", "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)")
    install(tmp_path, "silent", "License: UNKNOWN")
    return [str(tmp_path)]


def test_the_bill_lists_every_package_and_what_needs_what(environment: list[str]) -> None:
    bill = sbom(installed(environment))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/oaml@1.0"
    names = {part["name"]: part for part in bill["components"]}
    assert set(names) == {"free-thing", "nvidia-blas", "cuda-kit", "cuda-free", "gnu-thing", "silent"}
    assert names["free-thing"]["licenses"] == [{"license": {"name": "MIT License"}}]
    edges = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert edges["pkg:pypi/oaml@1.0"] == ["pkg:pypi/free-thing@1.0"]
    assert edges["pkg:pypi/free-thing@1.0"] == []
    refs = {part["bom-ref"] for part in bill["components"]}
    assert all(ref in refs for refs_of in edges.values() for ref in refs_of)
    assert sbom(installed(environment)) == bill


def test_licences_that_need_attention_come_first_with_the_reason(environment: list[str]) -> None:
    head, _, *rows = licences(installed(environment)).splitlines()
    assert head == "4 of 7 packages need attention"
    wanting, fine = rows[: rows.index("")], rows[rows.index("") + 1 :]
    reasons = {row.split()[0]: row for row in wanting}
    assert "proprietary" in reasons["cuda-kit"]
    assert "proprietary" not in reasons["silent"]
    assert "GPL" in reasons["gnu-thing"]
    assert "look into its source" in reasons["silent"]
    assert [row.split()[0] for row in fine] == ["cuda-free", "free-thing", "oaml"]


def answer(*packages: dict[str, object]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


FINE = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "urllib3", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0"]}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.0)"}


@pytest.mark.parametrize(
    ("code", "out", "error", "outcome", "told"),
    [
        (0, answer(FINE), "", NONE_KNOWN, "No vulnerability of 1 packages"),
        (1, answer(FINE, BAD), "", FOUND, "urllib3 1.0: PYSEC-1, mended in 2.0"),
        (1, answer(BAD, SKIPPED), "", FOUND, "1 of 2 packages could not be audited"),
        (0, answer(FINE, SKIPPED), "", NOT_ASKED, "1 of 2 packages could not be audited: torch"),
        (0, answer(), "", NOT_ASKED, "No package was audited"),
        (1, "", "ERROR:pip_audit:ConnectionError: Max retries exceeded", NOT_ASKED, "gave no answer"),
        (1, "<html>Sign in</html>", "", NOT_ASKED, "gave no answer"),
        (1, "", "/usr/bin/python: No module named pip_audit", NOT_ASKED, "not installed"),
    ],
)
def test_an_audit_that_asked_nobody_never_passes(code: int, out: str, error: str, outcome: int, told: str) -> None:
    def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, code, out, error)

    found, text = audit(ask=ask)
    assert found == outcome
    assert told in text


def test_this_environment_has_a_bill(tmp_path: Path) -> None:
    from images.packages import main

    main(["sbom", "--out", str(tmp_path / "sbom.json")])
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert {"numpy", "pillow"} <= {part["name"] for part in bill["components"]}
