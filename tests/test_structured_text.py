"""Hostile and damaged YAML and JSON get errors that name them, and cost little."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from components.images import read_lock
from oaml_core.cli import main
from oaml_core.data.prepared.memfile import open_memfile
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.meta import read_meta
from oaml_core.errors import ConfigError, DataError, ImageError, StoreError
from oaml_core.restoration.tile_shards import MANIFEST as SHARDS
from oaml_core.restoration.tile_shards import read_shard_manifest
from oaml_core.restoration.tiles import read_metadata
from oaml_core.settings import config_from_yaml, config_parser, load_config, parse_config
from oaml_core.stages import end_night, night_status
from oaml_core.stages.production import PRODUCTION, champion, point_at, record
from oaml_core.store.folder import FolderStore
from oaml_core.structured_text import json_or_none, parse_json, parse_json_value, parse_yaml
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.stored_checkpoints import POINTER

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}\n" for n in range(9))
BOMBS = {
    "aliases": LAUGHS,
    "merged mappings": MERGES,
    "levels of lists": "name: " + "[" * 5_000,
    "levels of mappings": "name: " + "{a: " * 5_000,
    "levels by indentation": "\n".join(" " * n + "a:" for n in range(500)),
    "levels by dashes": "- " * 5_000,
    "length": "name: " + "x" * 1_000_000,
    "values": "name: [" + "1," * 90_000 + "]",
    "an alias within itself": "name: &a [*a]",
}
bombs = pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)


@bombs
def test_a_recipe_out_of_bounds_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        load_config(path)


@bombs
def test_yaml_out_of_bounds_in_place_of_a_recipe_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        config_from_yaml(text)
    with pytest.raises(ConfigError):
        load_config(None, ["--config", f"\n{text}"])


@bombs
def test_yaml_out_of_bounds_in_a_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(config_parser("oaml", "OAML"), ["--data.occluders", text])
    with pytest.raises(ConfigError):
        parse_config(config_parser("oaml", "OAML"), ["--optim", text])


def test_a_file_for_a_group_of_keys_is_bounded_as_well(tmp_path: Path) -> None:
    path = tmp_path / "optim.yaml"
    path.write_text(LAUGHS)
    with pytest.raises(ConfigError, match="aliases"):
        load_config(None, ["--optim", str(path)])


@pytest.mark.parametrize(
    "text", ["name: 2024-99-99", "name: [", "name: \0", "a: b: c", "? [", "%YAML 9.9", "name: !!python/x"]
)
def test_what_is_no_yaml_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"recipe\.yaml.*UTF-8"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("seed: 1\nname: x\nseed: 2", "seed", 3),
        ("optim:\n  lr: 1\n  epochs: 2\n  lr: 3", "lr", 4),
        ("a: [{x: 1, y: [x, x], x: 2}]", "x", 1),
        ("? [1, 2]\n: 3\n? x\n: {x: 1}\nx: 1", "x", 5),
        ("a: &k {x: 1}\nb: *k\na: 1", "a", 3),
        ("'a': 1\na: 2", "a", 2),
    ],
)
def test_a_key_twice_in_one_place_is_refused_with_its_line(text: str, key: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"The recipe has the key {key} twice .* in line {line}\. Remove one"):
        parse_yaml(text, "The recipe")


def test_a_key_may_come_again_in_another_place() -> None:
    text = "a: {x: x, y: x}\nb: &k {x: 1}\nc: [*k, *k, {x: 1}]\nx: {<<: *k, a: x}"
    assert parse_yaml(text, "The recipe")["x"] == {"x": 1, "a": "x"}


def test_aliases_within_the_limits_are_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}", "x") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


DAMAGED = {
    "empty": b"",
    "cut off": b'{"version": "1',
    "no text": b"\xff\x00\x80",
    "a list": b"[1]",
    "null": b"null",
    "a number": b"7",
    "lacks a key": b"{}",
    "a long number": b'{"version": ' + b"9" * 10_000 + b"}",
    "nested": b'{"version": ' + b"[" * 100_000,
    "nested and closed": b'{"version": ' + b"[" * 200 + b"]" * 200 + b"}",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_json_is_named_with_its_remedy(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"^here is damaged: .*\. Do this\.$"):
        parse_json(content, "here", "Do this.", StoreError, needs=["version"])


RECORD = {
    "version": "1",
    "model_uri": "u/runs/a/m",
    "metrics_uri": "u/runs/a/n",
    "promoted_at": "2030-01-01T00:00:00+00:00",
}


def damage_behind_the_digest(store: FolderStore, key: str) -> None:
    (store.folder / key).write_bytes(b"{")


def damage_with_its_digest(store: FolderStore, key: str) -> None:
    store.write_bytes(key, b'{"version": ' + b"[" * 100_000)


@pytest.mark.parametrize("damage", [damage_behind_the_digest, damage_with_its_digest])
def test_a_damaged_pointer_is_mended_as_its_error_says(
    damage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "store")
    point_at(store, RECORD)
    at_store = ["--store", str(store.folder)]
    damage(store, PRODUCTION)
    for command in (["rollback"], ["store", "gc"]):
        with pytest.raises(SystemExit):
            main([*command, *at_store])
        told = capfd.readouterr().err
        assert "production.json is damaged" in told
        assert "oaml store put VERSION.json models/production.json" in told
        assert "Traceback" not in told
    for words in (["get", "models/1.json", str(tmp_path / "1.json")], ["put", str(tmp_path / "1.json"), PRODUCTION]):
        with pytest.raises(SystemExit, match="0"):
            main(["store", *words, *at_store])
    assert champion(store) == record(store, "1")


@pytest.mark.parametrize("key", ["models/1.json", "datasets/d/manifest.json", "runs/b/metrics.json"])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_gc_names_what_it_cannot_read(key: str, content: bytes, tmp_path: Path, capfd) -> None:
    store = FolderStore(tmp_path / "store")
    point_at(store, RECORD)
    store.write_bytes(key, content)
    if content == b"{}" and not key.startswith("models/"):
        pytest.skip("no key is needed there")
    with pytest.raises(SystemExit, match="1"):
        main(["store", "gc", "--store", str(store.folder)])
    assert f"{key} is damaged" in capfd.readouterr().err


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_nights_name_a_record_that_they_cannot_read(content: bytes, tmp_path: Path) -> None:
    config = load_config(None, ["--store", str(tmp_path / "store")])
    end_night(config, failed=False)
    store = FolderStore(tmp_path / "store")
    [key] = [info.key for info in store.list("nights/")]
    store.write_bytes(key, content)
    assert re.search(r"(is damaged|is not JSON).*Delete it", " ".join(night_status(config, hours=1).lines))


PARSERS = {"loads", "load", "safe_load", "full_load", "unsafe_load", "safe_load_all", "load_all"}
OWN_TEXT = {
    "oaml_core/structured_text.py": "the reader itself",
    "oaml_core/stages/evaluate_stage.py": "YAML that was written a line before",
    "oaml_core/forgetting/forget.py": "JSON that was written a line before",
    "oaml_core/tracking.py": "JSON that was written a line before",
    "oaml_core/data/prepared/part_filler.py": "lines of this machine's own worker, through a pipe",
    "oaml_core/training/worker_request.py": "what this machine's own launcher sent, through a private socket",
    "oaml_core/training/rejoin.py": "the note of this machine's own worker; what is damaged counts as none",
    "images/locked.py": "the report of pip, which was started a line before",
    "images/audit.py": "the output of pip-audit, which was started a line before",
}
"""Modules that read JSON or YAML themselves, and why that text is not from outside."""


def readers_of_text() -> set[str]:
    top = Path(__file__).parents[1]
    found = set()
    for package in ("oaml_core", "components", "pipelines", "images"):
        for path in (top / package).rglob("*.py"):
            text = path.read_text()
            calls = ast.walk(ast.parse(text)) if "json" in text or "yaml" in text else ()
            for node in calls:
                function = node.func if isinstance(node, ast.Call) else None
                named = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
                if named and function.value.id in ("json", "yaml") and function.attr in PARSERS:
                    found.add(path.relative_to(top).as_posix())
    return found


def test_text_from_outside_is_read_in_one_place() -> None:
    assert readers_of_text() == set(OWN_TEXT), "use oaml_core.structured_text, or say here why the text is our own"


def test_what_can_be_done_without_is_none_where_it_is_damaged() -> None:
    for content in [content for name, content in DAMAGED.items() if name in ("empty", "cut off", "no text", "nested")]:
        assert json_or_none(content) is None
    assert json_or_none(b"[1]") == [1]


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_every_document_of_others_is_named_where_it_is_damaged(content: bytes, tmp_path: Path) -> None:
    """Read by each part of OAML that reads such a document from a folder."""
    tiles, memfile, lock = tmp_path / "metadata.json", tmp_path / "m.dat.conf", tmp_path / "images.lock.json"
    shards = tmp_path / SHARDS
    for path in (tiles, memfile, lock, shards):
        path.write_bytes(content)
    readers = {
        tiles: (lambda: read_metadata(tmp_path), DataError),
        memfile: (lambda: open_memfile(tmp_path / "m.dat"), DataError),
        shards: (lambda: read_shard_manifest(tmp_path), DataError),
        lock: (lambda: read_lock(lock), ImageError),
    }
    for path, (read, kind) in readers.items():
        if path is lock and content == b"{}":
            continue
        with pytest.raises(kind, match=path.name.removesuffix(".conf")):
            read()
    (tmp_path / "train_meta.json").write_bytes(content)
    if content != b"{}":
        with pytest.raises(DataError, match=r"train_meta\.json is damaged"):
            read_meta(LocalFolder(tmp_path))


@pytest.mark.parametrize("name", [5, None, "../../secrets", "step-1.ckpt", ["step-0000000001.ckpt"]])
def test_a_pointer_that_names_no_checkpoint_is_damaged(name: object, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write_bytes(f"runs/a/{POINTER}", json.dumps({"name": name}).encode())
    with pytest.raises(StoreError, match="is damaged: it names no checkpoint"):
        CheckpointKeeper(tmp_path / "run", store, "runs/a", 2).newest()


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]'])
def test_a_key_that_json_has_twice_is_named(text: str) -> None:
    with pytest.raises(DataError, match=r"^The list has `a` more than once\. Write it again\.$"):
        parse_json_value(text, "The list", "Write it again.", DataError)
    assert parse_json_value('[{"a": 1}, {"a": 2}]', "The list", "", DataError) == [{"a": 1}, {"a": 2}]
