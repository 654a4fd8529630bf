"""Data sets and the garbage collector, at work at the same time."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from untrained import write_untrained

from oaml_core import stages
from oaml_core.config import Config, DataConfig
from oaml_core.data.prepare import prepare as preparing
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.errors import DataError
from oaml_core.settings import config_to_yaml
from oaml_core.stages.collect_garbage import find_garbage, remove
from oaml_core.store import Store, open_store
from oaml_core.training.checkpoints import read_checkpoint, write_checkpoint

FILES = "datasets/files/"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    data = DataConfig(synthetic_identities=4, synthetic_images_per_identity=3, synthetic_pairs=20)
    return Config(store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"), data=data)


@pytest.fixture
def store(config: Config) -> Store:
    return open_store(config.store)


def contents(store: Store) -> list[str]:
    return [info.key for info in store.list(FILES)]


@pytest.mark.parametrize("room", [True, False])
def test_content_that_is_collected_while_it_is_reused_is_there_again(
    config: Config, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    manifest = f"{stages.prepare(config).dataset_uri.removeprefix(store.uri + '/')}/manifest.json"
    store.delete(manifest)  # its content is garbage from here on, until a manifest names it again
    monkeypatch.setattr(preparing, "_has_room", lambda *_: room)
    commit, collected = preparing.committed, []

    def collect_first(*arguments: object) -> bool:
        if not collected:
            garbage = find_garbage(store, 0, timedelta(0))
            collected.extend(garbage.objects)
            remove(store, garbage)
        return commit(*arguments)

    monkeypatch.setattr(preparing, "committed", collect_first)
    made = stages.prepare(config)
    assert collected
    assert not made.reused
    assert len(fetch_prepared(made.dataset_uri, tmp_path / "elsewhere").train) == 12


def test_garbage_that_a_manifest_names_meanwhile_stays(config: Config, store: Store, tmp_path: Path) -> None:
    uri = stages.prepare(config).dataset_uri
    store.delete(f"{uri.removeprefix(store.uri + '/')}/manifest.json")
    garbage = find_garbage(store, 0, timedelta(0))
    assert {info.key for info in garbage.objects} == set(contents(store))
    stages.prepare(config)
    remove(store, garbage)
    assert len(fetch_prepared(uri, tmp_path / "elsewhere").train) == 12


def test_a_data_set_that_lacks_a_file_is_not_reused(config: Config, store: Store, tmp_path: Path) -> None:
    uri = stages.prepare(config).dataset_uri
    store.delete(contents(store)[0])
    with pytest.raises(DataError, match="oaml prepare --repair"):
        fetch_prepared(uri, tmp_path / "broken")
    again = stages.prepare(dataclasses.replace(config, work_dir=str(tmp_path / "other")))
    assert (again.reused, again.dataset_uri) == (False, uri)
    assert len(fetch_prepared(uri, tmp_path / "whole").train) == 12


def test_repair_makes_damaged_content_again(config: Config, store: Store, tmp_path: Path) -> None:
    uri = stages.prepare(config).dataset_uri
    path = Path(config.store) / contents(store)[0]
    path.write_bytes(b"\0" * path.stat().st_size)
    assert stages.prepare(config).reused
    assert not stages.prepare(config, repair=True).reused
    assert len(fetch_prepared(uri, tmp_path / "whole").train) == 12
    assert stages.prepare(config, repair=True).reused


@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_brings_its_own_data_set_and_draws_no_other_faces(
    config: Config, store: Store, tmp_path: Path, there: bool
) -> None:
    small = dataclasses.replace(config, model=dataclasses.replace(config.model, arch="ir_mini", width=4))
    checkpoint = write_untrained(small, tmp_path / "best.ckpt")
    made = stages.prepare(config)
    if there:
        state = read_checkpoint(checkpoint) | {"fingerprint": made.fingerprint}
        state["config"] = config_to_yaml(dataclasses.replace(small, data=DataConfig(source=str(tmp_path / "gone"))))
        write_checkpoint(state, checkpoint)
    asked = Config(store=config.store, work_dir=config.work_dir, data=DataConfig(num_workers=0))
    assert stages.dataset_of_checkpoint(asked, str(checkpoint)) == made.dataset_uri
    other = dataclasses.replace(asked, data=dataclasses.replace(config.data, synthetic_pairs=40))
    assert stages.dataset_of_checkpoint(other, str(checkpoint)) == stages.prepare(other).dataset_uri != made.dataset_uri
