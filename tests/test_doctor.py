"""What `oaml doctor` finds, and what it advises."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from oaml_core import doctor
from oaml_core.config import Config, ModelConfig, TrackingConfig, TrainConfig
from oaml_core.doctor import DoctorFinding, diagnose, format_findings
from oaml_core.embedded_s3 import embedded_s3


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store=str(tmp_path / "store"), work_dir=str(tmp_path / "not made yet"))


def finding(config: Config, name: str) -> DoctorFinding:
    return next(found for found in diagnose(config) if found.name == name)


def test_each_package_has_its_version(config: Config) -> None:
    import torch

    assert torch.__version__.startswith(finding(config, "torch").detail)
    assert all(found.state == "ok" for found in diagnose(config) if found.name in doctor.PACKAGES)


@pytest.mark.parametrize(("wanted", "state"), [(True, "fail"), ("auto", "warn"), (False, "ok")])
def test_without_a_compiler_a_recipe_that_compiles_is_warned(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: bool, state: str
) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = finding(replace(config, train=TrainConfig(compile=wanted)), "torch.compile")
    assert found.state == state
    assert "there is no C compiler (gcc, clang, cc)" in found.detail


def test_a_driver_that_is_too_old_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr(doctor, "driver_release", lambda: "535.183.01")
    found = finding(config, "driver")
    assert (found.state, found.detail) == ("fail", "NVIDIA 535.183.01, at least 580.65.06")
    monkeypatch.setattr(doctor, "driver_release", lambda: "580.95.05")
    assert finding(config, "driver").state == "ok"


def test_a_missing_package_has_a_remedy(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    found = finding(config, "no-such-package")
    assert (found.state, found.detail) == ("fail", "not installed")
    assert "pip install" in found.remedy


def test_an_old_python_has_a_remedy(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON", (99, 0))
    found = finding(config, "python")
    assert found.state == "fail"
    assert "99.0" in found.remedy


def test_looking_makes_nothing(config: Config, tmp_path: Path) -> None:
    assert finding(config, "store").state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_be_written(config: Config) -> None:
    folder = Path(config.store)
    folder.mkdir()
    assert "can be written and read" in finding(config, "store").detail
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert left in ([], [".lock"])  # by which writers of the folder take turns


def test_a_store_that_is_a_file(config: Config) -> None:
    Path(config.store).write_text("not a folder")
    assert finding(config, "store").state == "fail"


def test_an_s3_store(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OAML_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    on_s3 = replace(config, store="s3://oaml/x")
    without = finding(on_s3, "store")
    assert without.state == "fail"
    assert "OAML_S3_ENDPOINT" in without.remedy
    monkeypatch.setenv("OAML_S3_ENDPOINT", "http://[::1")
    assert "OAML_S3_ENDPOINT must read" in finding(on_s3, "store").remedy
    with embedded_s3(tmp_path / "s3") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert finding(on_s3, "store").state == "ok"
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        refused = finding(on_s3, "store")
    assert refused.state == "fail"
    assert "AWS_SECRET_ACCESS_KEY is wrong" in refused.remedy
    assert variables["AWS_SECRET_ACCESS_KEY"] not in format_findings([refused])


def test_a_disk_that_is_nearly_full(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30 // 2))
    assert finding(config, "disk") == DoctorFinding(
        "disk", "warn", "0.5 GiB free", "free some, or set work_dir to another disk"
    )


@pytest.mark.parametrize(("arch", "state"), [("ir_mini", "ok"), ("ir_101", "warn")])
def test_large_models_want_a_gpu(config: Config, monkeypatch: pytest.MonkeyPatch, arch: str, state: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert finding(replace(config, model=ModelConfig(arch=arch)), "gpu").state == state  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "key", "detail"),
    [("off", "", "off"), ("auto", "", "offline"), ("auto", "k", "online"), ("offline", "k", "offline")],
)
def test_where_metrics_go(config: Config, monkeypatch: pytest.MonkeyPatch, setting: str, key: str, detail: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracked = replace(config, tracking=TrackingConfig(wandb=setting))  # type: ignore[arg-type]
    assert finding(tracked, "wandb run").detail == detail


def test_online_without_a_key_is_warned_of(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    found = finding(replace(config, tracking=TrackingConfig(wandb="online")), "wandb run")
    assert found.state == "warn"
    assert "WANDB_API_KEY" in found.remedy


def test_remedies_stand_below_what_they_cure() -> None:
    text = format_findings([DoctorFinding("python", "ok", "3.11.7"), DoctorFinding("store", "fail", "s3://x", "set Y")])
    first, second, third = text.splitlines()
    assert first.split() == ["ok", "python", "3.11.7"]
    assert second.split() == ["fail", "store", "s3://x"]
    assert third.strip() == "→ set Y"
