"""An address of a server that cannot be is refused by the name of its key, and no address is taken apart elsewhere."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.notify import notify
from oaml_core.stages import begin_night
from oaml_core.stages.model_registry import archive_version, enter_version
from oaml_core.store import open_store
from oaml_core.store.s3_identity import container_agent, instance_role, web_identity
from oaml_core.store.s3_profiles import minio_client_keys
from oaml_core.web_addresses import web_address
from pipelines.kubeflow import connect

REPO = Path(__file__).parents[1]
WRONG = ("http://[::1", "http://host:99999", "http://host:x", "https://host:0", "http://:80", "http://[x]/")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def asks_sts(folder: Path, _: Config) -> object:
    (folder / "token").write_text("t")
    return web_identity(None, "role", str(folder / "token"))


def reads_alias(folder: Path, address: str) -> Callable[[Path, Config], object]:
    (folder / "config.json").write_text(json.dumps({"aliases": {"own": {"url": address}}}))
    return lambda *_: minio_client_keys()


USES: dict[str, Callable[[Path, Config], object]] = {
    "OAML_S3_ENDPOINT": lambda *_: open_store("s3://oaml/x"),
    "AWS_ENDPOINT_URL_STS": asks_sts,
    "AWS_ENDPOINT_URL": asks_sts,
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": lambda *_: container_agent(),
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": lambda *_: instance_role(),
    "KFP_ENDPOINT": lambda *_: connect(""),
    "OAML_WEBHOOK_URL": lambda _, config: begin_night(config),
    "OAML_MODEL_REGISTRY": lambda _, config: begin_night(config),
}
"""Calls by variable: the first that a user meets that uses its address."""


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (*USES, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(key, raising=False)


@pytest.mark.parametrize("address", WRONG)
@pytest.mark.parametrize("key", USES)
def test_an_address_that_cannot_be_is_named_by_its_key(
    key: str, address: str, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(key, address)
    with pytest.raises(ConfigError, match=f"^{key} must read http") as raised:
        USES[key](tmp_path, config)
    assert address.rstrip("/") not in str(raised.value), "an address may be a secret"


def test_other_keys_are_named_as_well(config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_REGION", "eu]")
    with pytest.raises(ConfigError, match="address of AWS_REGION's STS must read"):
        asks_sts(tmp_path, config)
    monkeypatch.setenv("MC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("OAML_S3_ENDPOINT", "http://host:9000")
    with pytest.raises(ConfigError, match=r"url of the alias 'own' in .*config\.json must read"):
        reads_alias(tmp_path, "http://[::1")(tmp_path, config)


def test_what_stops_nothing_says_so_in_the_log(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("OAML_WEBHOOK_URL", "OAML_MODEL_REGISTRY"):
        monkeypatch.setenv(key, "http://[s3cr3t")
    assert not notify("x", "NightFailed")
    assert not enter_version(config, {"version": "1"}, {})
    assert not archive_version(config, "1", "2")
    told = [message for message in caplog.messages if "must read http" in message]
    assert len(told) == 3
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize("address", ["http://[::1]:9000", "https://faces.example.org/a?b=c", "http://host"])
def test_an_address_that_can_be_is_taken(address: str) -> None:
    assert web_address(address, "KEY", "http://host").geturl() == address


def test_addresses_are_taken_apart_in_one_place() -> None:
    def names(path: Path) -> set[Any]:
        nodes = ast.walk(ast.parse(path.read_text()))
        return {getattr(node, "id", getattr(node, "attr", getattr(node, "name", None))) for node in nodes}

    places = [path for top in ("oaml_core", "components", "pipelines", "images") for path in (REPO / top).rglob("*.py")]
    found = {path.name for path in places if {"urlsplit", "urlparse", "parse_url"} & names(path)}
    assert found == {"web_addresses.py"}
