"""Nothing that is kept or shown holds a credential: files of the repository, compiled pipelines, manifests."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pipelines.compile import compile_pipeline

REPO = Path(__file__).parents[1]
CREDENTIAL = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----|hooks\.slack\.com/services/T|"
    r"(?i:secret[_-]?(?:access[_-]?)?key|token|password)[\"']?\s*[:=]\s*[\"'][A-Za-z0-9+/]{20,}[\"']"
)


def test_no_file_of_the_repository_holds_one() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\n"):
        path = REPO / name
        if path.is_file() and path.suffix in (".py", ".yaml", ".yml", ".md", ".toml", ".txt", ".json", ""):
            found = CREDENTIAL.search(path.read_text(errors="replace"))
            assert found is None, f"{name}: {found and found[0][:12]}…"


def test_the_compiled_pipeline_names_secrets_and_holds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        name: f"made-up-{number}-{name[::-1]}"
        for number, name in enumerate(
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "OAML_WEBHOOK_URL", "KFP_TOKEN", "WANDB_API_KEY")
        )
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    compile_pipeline(tmp_path / "pipeline.yaml")
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "oaml-store" in text
    assert not any(value in text for value in values.values())
