"""`oaml benchmark templates` by shards: the same figures to the last byte, however many describe the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain_onnx import recogniser
from template_data import Describer

from oaml_core.cli import main
from oaml_core.config import Config
from oaml_core.errors import ConfigError, EvaluationError, StoreError
from oaml_core.evaluation.templates import pooling
from oaml_core.evaluation.templates import shards as shards_module
from oaml_core.evaluation.templates.lists import read_lists
from oaml_core.stages.template_shards import TemplateModel
from oaml_core.store import open_store
from oaml_core.store.stored_arrays import read_arrays, write_arrays


class InBatches(Describer):
    """Embeddings that depend on the whole batch, as the last bits of those of networks do."""

    def __init__(self) -> None:
        self.described = 0

    def records(self, images: np.ndarray):  # type: ignore[no-untyped-def]
        self.described += len(images)
        found = super().records(images)
        return found._replace(embedding=found.embedding + np.float32(1e-3) * found.embedding.mean(0))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "BATCH", 8)
    monkeypatch.setattr(shards_module, "BATCH", 8)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return path


def test_any_number_of_shards_gives_the_same_figures(ijb, config: Config, file: Path) -> None:  # type: ignore[no-untyped-def]
    lists = read_lists(ijb.folder)
    expected = TemplateModel(InBatches(), file).figures(lists)
    for shards in (1, 3, 7):
        model = TemplateModel(InBatches(), file)
        parts = model.parts(config, lists, shards)
        for number in reversed(range(shards)):
            assert model.describe(lists, parts, f"{number}/{shards}")
        assert not model.describe(lists, parts, f"0/{shards}")
        assert model.model.described == len(lists.names)  # type: ignore[attr-defined]
        assert model.figures(lists, parts, only_merge=True) == expected
        assert model.model.described == len(lists.names)  # type: ignore[attr-defined]


def test_shards_that_are_missing_or_of_something_else_are_named(ijb, config: Config, file: Path) -> None:  # type: ignore[no-untyped-def]
    lists, model = read_lists(ijb.folder), TemplateModel(InBatches(), file)
    parts = model.parts(config, lists, 3)
    for number in (0, 2):
        model.describe(lists, parts, f"{number}/3")
    with pytest.raises(EvaluationError, match=r"images-00001\.npz is missing: 1 of 3 .*templates.*--shard 1/3"):
        model.figures(lists, parts, only_merge=True)
    figures = model.figures(lists, parts)  # which makes it
    store, key = open_store(config.store), f"{parts.prefix}/images-00001.npz"
    arrays, about = read_arrays(store, key, "")
    for change, said in (
        ({"made_by": about["made_by"] | {"model": "f00d@bgr"}}, "was made with model f00d@bgr, not"),
        ({"made_by": about["made_by"] | {"lists": "f00d"}}, "was made with lists f00d, not"),
        ({"rows": [0, 8]}, r"is of the rows \[0, 8\], not"),
    ):
        write_arrays(store, key, arrays, about | change)
        with pytest.raises(EvaluationError, match=rf"images-00001\.npz {said}.*Delete it.*--shard 1/3"):
            model.figures(lists, parts)
    write_arrays(store, key, {"embedding": arrays["embedding"][1:], "norm": arrays["norm"]}, about)
    with pytest.raises(EvaluationError, match=r"Embeddings of its images are not in \S+images-00001\.npz"):
        model.figures(lists, parts)
    store.write_bytes(key, b"PK")
    with pytest.raises(StoreError, match=r"images-00001\.npz cannot be read as arrays.*--shard 1/3"):
        model.figures(lists, parts)
    store.delete(key)
    assert model.figures(lists, parts) == figures


def test_other_models_words_and_lists_have_parts_of_their_own(ijb, config: Config, file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    lists, model = read_lists(ijb.folder), TemplateModel(Describer(), file)
    places = {model.parts(config, lists, 3).prefix, model.parts(config, lists, 4).prefix}
    places.add(TemplateModel(Describer(), file, "bgr").parts(config, lists, 3).prefix)
    places.add(model.parts(config, replace(lists, detection=None), 3).prefix)
    file.write_bytes(b"another")
    places.add(model.parts(config, lists, 3).prefix)
    assert len(places) == 5
    with pytest.raises(ConfigError, match="There is no shard 3/3"):
        model.describe(lists, model.parts(config, lists, 3), "3/3")


def test_the_command_line_makes_one_shard_and_merges(  # type: ignore[no-untyped-def]
    ijb, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recogniser(tmp_path / "plain.onnx", [0, 1, 2])
    words = ["benchmark", "templates", "--model", str(tmp_path / "plain.onnx"), "--faces", str(ijb.folder)]
    words += ["--store", str(tmp_path / "store")]

    def run(out: str, *more: str) -> bytes:
        with pytest.raises(SystemExit, match="0"):
            main([*words, "--out", str(tmp_path / out), *more])
        return (tmp_path / out / "templates.json").read_bytes() if (tmp_path / out).exists() else b""

    whole = run("whole")
    assert [run("none", "--shard", f"{number}/2") for number in range(2)] == [b"", b""]
    assert run("merged", "--merge", "2") == whole
    assert run("here", "--shards", "3") == whole
    assert not list(open_store(str(tmp_path / "store")).list("shards/"))
    with pytest.raises(SystemExit, match="1"):
        main([*words, "--merge", "2"])
    assert "--shard 0/2, --shard 1/2 first" in capfd.readouterr().err


def test_shards_of_other_images_of_the_same_names_are_not_merged(ijb, config: Config, file: Path) -> None:  # type: ignore[no-untyped-def]
    model = TemplateModel(Describer(), file)
    lists = read_lists(ijb.folder)
    assert model.describe(lists, model.parts(config, lists, 2), "0/2")
    changed = ijb.folder / "loose_crop" / lists.names[0]
    kept = changed.read_bytes()
    changed.write_bytes((ijb.folder / "loose_crop" / lists.names[1]).read_bytes())
    lists = read_lists(ijb.folder)
    parts = model.parts(config, lists, 2)
    assert model.describe(lists, parts, "1/2")
    with pytest.raises(EvaluationError, match=r"images-00000\.npz is missing: 1 of 2"):
        model.figures(lists, parts, only_merge=True)
    changed.write_bytes(kept)
    lists = read_lists(ijb.folder)
    assert not model.describe(lists, model.parts(config, lists, 2), "0/2")
