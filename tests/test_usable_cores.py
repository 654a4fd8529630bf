"""Cores that a process may use: a container's limit bounds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from oaml_core import usable_cores as module
from oaml_core.usable_cores import usable_cores

V1 = "7:blkio:/x\n2:cpu,cpuacct:/kubepods/pod1\n1:name=systemd:/\n"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "CGROUPS", tmp_path)
    monkeypatch.setattr(module, "OWN", tmp_path / "own")
    monkeypatch.setattr(module, "_allowed", lambda: 8)
    (tmp_path / "own").write_text("0::/\n")
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("200000 100000\n", 2.0),
        ("50000 100000\n", 0.5),
        ("max 100000\n", 8),
        ("1600000 100000\n", 8),
        ("", 8),
        ("?", 8),
    ],
)
def test_a_limit_of_version_2_counts(groups: Path, limit: str, cores: float) -> None:
    put(groups / "cpu.max", limit)
    assert usable_cores() == cores


def test_the_least_limit_of_all_groups_above_counts(groups: Path) -> None:
    put(groups / "own", "0::/kubepods/pod1/container\n")
    put(groups / "kubepods/pod1/container/cpu.max", "max 100000\n")
    put(groups / "kubepods/pod1/cpu.max", "300000 100000\n")
    put(groups / "kubepods/cpu.max", "600000 100000\n")
    assert usable_cores() == 3


@pytest.mark.parametrize("quota", ["150000", "-1", "0"])
def test_a_limit_of_version_1_counts(groups: Path, quota: str) -> None:
    put(groups / "own", V1)
    put(groups / "cpu,cpuacct/kubepods/pod1/cpu.cfs_quota_us", f"{quota}\n")
    put(groups / "cpu,cpuacct/kubepods/pod1/cpu.cfs_period_us", "100000\n")
    assert usable_cores() == (1.5 if quota == "150000" else 8)


def test_a_container_that_sees_its_own_group_as_the_top_is_bound(groups: Path) -> None:
    put(groups / "own", V1)
    put(groups / "cpu/cpu.cfs_quota_us", "100000\n")
    put(groups / "cpu/cpu.cfs_period_us", "100000\n")
    assert usable_cores() == 1


def test_where_nothing_can_be_read_no_limit_is_known(groups: Path) -> None:
    (groups / "own").write_bytes(b"\xff\xfe")
    assert usable_cores() == 8
    (groups / "own").unlink()
    assert usable_cores() == 8
