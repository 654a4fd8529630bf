"""The export stage: models that live up to the trained one, made once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from untrained import write_untrained

from oaml_core import stages
from oaml_core.config import Config, DataConfig, EvaluateConfig, ExportConfig, ModelConfig
from oaml_core.errors import ExportError
from oaml_core.export import OamlOnnx
from oaml_core.inference.backends import has_openvino
from oaml_core.stages.addresses import read_metrics_json


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, str, str, str]:
    """Configuration, data set, checkpoint and metrics of a model that nobody trained."""
    folder = tmp_path_factory.mktemp("export")
    config = replace(
        Config(),
        store=str(folder / "store"),
        work_dir=str(folder / "work"),
        data=DataConfig(synthetic_identities=4, synthetic_images_per_identity=2, synthetic_pairs=40, num_workers=0),
        model=ModelConfig(arch="ir_mini", width=4),
        evaluate=EvaluateConfig(occluders=(), block_shares=(), far=(0.1,), pictures=0),
        export=ExportConfig(check_images=8, check_pairs=40, variants=("fp16", "int8"), accuracy_loss=0.3),
    )
    dataset = stages.prepare(config).dataset_uri
    checkpoint = str(write_untrained(config, folder / "best.ckpt"))
    return config, dataset, checkpoint, stages.evaluate(config, dataset, checkpoint).metrics_uri


@pytest.fixture(scope="module")
def exported(run: tuple[Config, str, str, str]) -> stages.Exported:
    return stages.export(*run)


def stored(exported: stages.Exported) -> Path:
    """`model.onnx` in the store, a folder, with all that belongs to it."""
    return Path(exported.model_uri.removeprefix("file://"))


def test_variants_are_smaller_and_know_how_well_they_do(
    run: tuple[Config, str, str, str], exported: stages.Exported
) -> None:
    config, dataset_uri, *_ = run
    path = stored(exported)
    faces = np.array(next(iter(stages.fetch_dataset(config, dataset_uri).verification.values())).images[:8])
    whole = OamlOnnx(path)
    for variant in ("fp16", "int8"):
        small = OamlOnnx(path.with_name(f"model.{variant}.onnx"))
        assert small.metadata["variant"] == variant
        assert small.metadata["bytes"] < path.stat().st_size
        assert small.metadata["thresholds"] == whole.metadata["thresholds"]
        assert small.metadata["accuracy"]["pairs"] == 40
        assert small.metadata["accuracy"]["trained"] == whole.metadata["accuracy"]["exported"]
        assert small.metadata["images_per_second"] > 0
        cosine = (small.embed(faces).embedding * whole.embed(faces).embedding).sum(1)
        assert cosine.min() > 0.9
        # The matcher is the whole model's.
        assert small.compare(faces[0], faces[1]).local_score is not None
        assert exported.metadata["variants"][variant]["bytes"] == small.metadata["bytes"]


def test_every_file_records_its_tar_by_every_library_that_runs_it(exported: stages.Exported) -> None:
    path = stored(exported)
    for name in ("model.onnx", "model.fp16.onnx", "model.int8.onnx"):
        known = OamlOnnx(path.with_name(name)).metadata
        tar = known["tar"]
        assert known["image_size"]
        assert tar["images"] >= 8
        assert "onnxruntime" in tar["by"]
        assert len(tar["by"]) == (2 if has_openvino() else 1)
        for found in tar["by"].values():
            if "refused" in found:
                continue
            assert set(found) == {"clean", "covered"}
            for points in found.values():
                assert set(points) == {"0.001", "0.0001"}
                assert points["0.001"] is None or 0 <= points["0.001"] <= 1
                # Too few impostor pairs: no rate is made up.
                assert points["0.0001"] is None
    assert "| `model.int8.onnx` | onnxruntime |" in exported.model_card


def test_the_card_tells_of_the_variants(exported: stages.Exported) -> None:
    card = stored(exported).with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == exported.model_card
    assert "| `model.fp16.onnx` |" in card
    assert "| `model.int8.onnx` |" in card


def test_a_second_export_with_nothing_changed_makes_nothing(
    run: tuple[Config, str, str, str], exported: stages.Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("exported again")

    monkeypatch.setattr(stages.export_stage, "_write_models", never)
    again = stages.export(*run)
    assert again.reused
    assert again.metadata == json.loads(json.dumps(exported.metadata))
    assert again.model_uri == exported.model_uri


def test_another_setting_is_another_export(
    run: tuple[Config, str, str, str], exported: stages.Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise ExportError("exported again")

    monkeypatch.setattr(stages.export_stage, "_write_models", stop)
    config = replace(run[0], export=replace(run[0].export, tolerance=0.01))
    with pytest.raises(ExportError, match="exported again"):
        stages.export(config, *run[1:])


def test_a_variant_that_loses_too_much_fails_the_stage(
    run: tuple[Config, str, str, str], exported: stages.Exported, tmp_path: Path
) -> None:
    from oaml_core.evaluation.scoring.scores import score_pairs
    from oaml_core.export.checks import CheckPairs, check_accuracy
    from oaml_core.training.trained import load_trained

    config, dataset_uri, checkpoint, metrics_uri = run
    pairs = next(iter(stages.fetch_dataset(config, dataset_uri).verification.values()))
    model = OamlOnnx(stored(exported))
    scores = score_pairs(load_trained(Path(checkpoint)).recogniser, pairs.images)
    # As if the trained model told all pairs apart.
    perfect = scores._replace(global_score=pairs.issame.astype(float))
    with pytest.raises(ExportError, match=r"by its global score, the trained model 100\.00 %.*export\.accuracy_loss"):
        check_accuracy(model, CheckPairs(np.array(pairs.images), pairs.issame, perfect), 0.01, "model.int8.onnx")
    assert read_metrics_json(metrics_uri)["sets"]
