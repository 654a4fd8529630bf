"""The ONNX model is the trained model, says where it comes from, and runs without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch.nn.functional import normalize

from oaml_core.config import Config, EvaluateConfig, ExportConfig, ModelConfig
from oaml_core.errors import ExportError, ModelInputError
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.evaluation.scoring.combine import combined_scores
from oaml_core.evaluation.scoring.fuse import evidence_of
from oaml_core.evaluation.scoring.scores import score_pairs
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.evaluation.verdict.results import Evaluation
from oaml_core.export import OamlOnnx
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.inference.combining import CombinedRule
from oaml_core.inference.match import MatchResult
from oaml_core.inference.model_files import matcher_path
from oaml_core.models.recogniser import build_recogniser
from oaml_core.settings import digest

CONFIG = Config(model=ModelConfig(arch="ir_mini", width=8), export=ExportConfig(check_images=5))
MEASURED = [
    {"far": 0.001, "threshold": 0.4, "measurable": True},
    {"far": 1e-6, "threshold": None, "measurable": False},
]
METRICS = {
    "headline": {"val_accuracy_clean_combined": 0.97},
    "sets": {
        "lfw": {
            "combined": {
                "normalisation": {"global_mean": 0.2, "global_std": 0.3, "local_mean": -1.0, "local_std": 2.0},
                "global_weight": 0.5,
                "local_weight": 0.5,
                "fallback": False,
            },
            "conditions": {
                "clean": {"scores": {"global": {"tar_at_far": MEASURED}, "combined": {"tar_at_far": MEASURED}}}
            },
        }
    },
}


def trained_recogniser():
    """Fresh weights, with batch-norm statistics as training leaves them: neither 0 nor 1."""
    torch.manual_seed(0)
    model = build_recogniser(CONFIG.model)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (12, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = trained_recogniser()
    model.train()
    metadata = export_onnx(model, path, CONFIG, images, fingerprint="f00d", metrics=METRICS)
    return model, path, metadata


def test_outputs_are_torchs_at_every_batch_size(exported, images):
    model, path, _ = exported
    onnx_model = OamlOnnx(path)
    model.eval()
    for size in (1, 2, 7, 12):
        with torch.no_grad():
            expected = model(torch.from_numpy(images[:size]).permute(0, 3, 1, 2))
        found = onnx_model.embed(images[:size])
        np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-4)
        np.testing.assert_allclose(found.norm, expected.norm, rtol=1e-3)
        np.testing.assert_allclose(found.visibility, expected.visibility, atol=1e-4)
        np.testing.assert_allclose(found.local_features, normalize(expected.feature_map, dim=1), atol=1e-4)


def test_scores_of_pairs_are_those_of_the_evaluation(exported, images):
    model, path, _ = exported
    onnx_model = OamlOnnx(path)
    scores = score_pairs(model, images)
    found = [onnx_model.compare(images[2 * i], images[2 * i + 1]) for i in range(6)]
    np.testing.assert_allclose([one.global_score for one in found], scores.global_score, atol=1e-4)
    np.testing.assert_allclose([one.visible_share for one in found], scores.visible_share, atol=1e-4)


@pytest.mark.parametrize("fusion", ["fixed", "llr"])
def test_calibrated_scores_and_decisions_are_those_of_the_evaluation(images, tmp_path, fusion):
    """On the same pairs, clean and covered, torch's evidence and the runtime's come to the same numbers."""
    model = trained_recogniser().eval()
    generator = np.random.default_rng(2)
    many = generator.integers(0, 256, (280, 14, 14, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    many[1::4] = np.clip(many[0::4].astype(int) + generator.integers(-40, 40, many[0::4].shape), 0, 255)
    dark = many.copy()
    dark[1::2, 56:] = 30
    issame = np.arange(140) % 2 == 0
    scored = {"clean": score_pairs(model, many), "dark": score_pairs(model, dark)}
    judged = judge_set("set", scored, issame, EvaluateConfig(far=(0.1,), fusion=fusion))
    assert judged.fusion is not None
    measured = metrics(Evaluation({"set": judged}))
    path = tmp_path / "model.onnx"
    export_matcher_onnx(model, matcher_path(path), CONFIG, images)
    export_onnx(model, path, CONFIG, images, metrics=measured)

    onnx_model = OamlOnnx(path)
    for pictures, scores in ((many, scored["clean"]), (dark, scored["dark"])):
        found = onnx_model.scores(onnx_model.records(pictures[0::2]), onnx_model.records(pictures[1::2]))
        np.testing.assert_allclose(found.calibrated_score, judged.fusion.score(evidence_of(scores)), atol=2e-3)
        ratios = judged.fusion.log_likelihood_ratio(evidence_of(scores))
        np.testing.assert_allclose(found.log_likelihood_ratio, ratios, atol=2e-3)
        np.testing.assert_allclose(found.ratio_interval, judged.fusion.ratio_interval(evidence_of(scores)), atol=5e-3)
        assert found.deciding[0] == ("calibrated" if fusion == "llr" else "combined")
    compared = onnx_model.compare(many[0], many[1], far=0.1)
    name = "calibrated" if fusion == "llr" else "combined"
    points = measured["sets"]["set"]["conditions"]["clean"]["scores"][name]["tar_at_far"]
    assert compared.decided_by == name
    assert compared.threshold == points[0]["threshold"]
    assert compared.same == (compared.score >= compared.threshold)
    assert compared.ratio_interval is not None
    assert "likelihood ratio" in str(MatchResult(compared, 0.1, [0.1], pair=None))
    for part in ("covariance_root", "people"):
        del measured["sets"]["set"]["fusion"][part]
    export_onnx(model, path, CONFIG, images, metrics=measured)
    former = OamlOnnx(path).compare(many[0], many[1], far=0.1)
    assert former == replace(compared, ratio_interval=None)
    comparer = CheckpointComparer(model, 112, measured)
    same = comparer.scores(*(comparer.records(dark[side:40:2]) for side in (0, 1)))
    np.testing.assert_allclose(same.calibrated_score, judged.fusion.score(evidence_of(scored["dark"]))[:20], atol=1e-4)


def test_file_is_valid_onnx_of_the_opset_asked_for(exported):
    _, path, _ = exported
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == CONFIG.export.opset
    assert [output.name for output in model.graph.output] == ["embedding", "norm", "visibility", "local_features"]
    batch = model.graph.input[0].type.tensor_type.shape.dim
    assert batch[0].dim_param
    assert [axis.dim_value for axis in batch[1:]] == [112, 112, 3]


def test_file_says_where_it_comes_from(exported):
    _, path, metadata = exported
    stored = OamlOnnx(path).metadata
    assert stored == json.loads(json.dumps(metadata))
    assert stored["fingerprint"] == "f00d"
    assert stored["config"]["model"]["arch"] == "ir_mini"
    assert stored["config_digest"] == digest(CONFIG)
    assert stored["headline"] == METRICS["headline"]
    assert stored["licence"]
    assert max(stored["largest_difference"].values()) <= CONFIG.export.tolerance


def test_decision_follows_the_stored_threshold(exported, images):
    onnx_model = OamlOnnx(exported[1])
    same = onnx_model.compare(images[0], images[0], far=1e-3)
    assert (same.threshold, same.same) == (0.4, True)
    assert same.score == pytest.approx(1.0, abs=1e-5)
    unknown = onnx_model.compare(images[0], images[0], far=1e-6)
    assert (unknown.threshold, unknown.same) == (None, None)


def test_with_the_matcher_beside_it_the_combined_score_decides(tmp_path, images):
    model, path = trained_recogniser(), tmp_path / "model.onnx"
    export_onnx(model, path, CONFIG, images, metrics=METRICS)
    export_matcher_onnx(model, matcher_path(path), CONFIG, images)

    found = [OamlOnnx(path).compare(images[2 * i], images[2 * i + 1]) for i in range(6)]

    scores = score_pairs(model, images)
    rule = CombinedRule.stored(METRICS["sets"]["lfw"]["combined"])
    np.testing.assert_allclose([one.local_score for one in found], scores.local_score, atol=1e-4)
    np.testing.assert_allclose([one.combined_score for one in found], combined_scores(rule, scores), atol=1e-4)
    for one in found:
        assert one.same == (one.combined_score >= 0.4)


def test_the_matcher_is_checked_too(tmp_path, images):
    config = replace(CONFIG, export=replace(CONFIG.export, tolerance=0.0))
    with pytest.raises(ExportError, match="matcher differs"):
        export_matcher_onnx(trained_recogniser(), tmp_path / "model.matcher.onnx", config, images)
    assert list(tmp_path.iterdir()) == []


def test_transmatcher_is_exported_like_qaconv(tmp_path, images):
    config = replace(CONFIG, model=replace(CONFIG.model, matcher="transmatcher"))
    torch.manual_seed(0)
    differences = export_matcher_onnx(build_recogniser(config.model), tmp_path / "model.matcher.onnx", config, images)
    assert differences["score"] <= config.export.tolerance


def test_without_preprocessing_the_input_is_a_normalised_tensor(tmp_path, images):
    path = tmp_path / "model.onnx"
    config = replace(CONFIG, export=replace(CONFIG.export, preprocessing=False))
    export_onnx(trained_recogniser(), path, config, images)
    batch = onnx.load(path).graph.input[0].type.tensor_type
    assert batch.elem_type == onnx.TensorProto.FLOAT
    assert [axis.dim_value for axis in batch.shape.dim[1:]] == [3, 112, 112]
    assert OamlOnnx(path).embed(images[:2]).embedding.shape[0] == 2


def test_one_image_to_check_with_is_enough_and_fixes_no_batch_size(tmp_path, images):
    path = tmp_path / "model.onnx"
    model = trained_recogniser().train()
    model.matcher.eval()
    export_onnx(model, path, CONFIG, images[:1])

    # The model is given back in the mode it was in.
    assert model.backbone.training
    assert not model.matcher.training
    assert OamlOnnx(path).embed(images[:5]).embedding.shape[0] == 5


def test_an_operator_set_that_the_exporter_cannot_write_is_refused(tmp_path, images):
    config = replace(CONFIG, export=replace(CONFIG.export, opset=7))
    with pytest.raises(ExportError, match=r"export\.opset"):
        export_onnx(trained_recogniser(), tmp_path / "model.onnx", config, images)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_differs_is_refused_and_the_previous_one_stays(tmp_path, images):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"previous")
    config = replace(CONFIG, export=replace(CONFIG.export, tolerance=0.0))
    with pytest.raises(ExportError, match=r"differs .* export\.tolerance 0: .*embedding"):
        export_onnx(trained_recogniser(), path, config, images)
    assert path.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [path]


def test_a_diverged_model_is_refused(tmp_path, images):
    model = trained_recogniser()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(ExportError, match="NaN"):
        export_onnx(model, tmp_path / "model.onnx", CONFIG, images)


def test_nothing_to_check_with_is_refused(tmp_path, images):
    with pytest.raises(ExportError, match="no image"):
        export_onnx(trained_recogniser(), tmp_path / "model.onnx", CONFIG, images[:0])


def test_runtime_imports_neither_torch_nor_onnx(exported, images, tmp_path):
    np.save(tmp_path / "images.npy", images[:2])
    code = (
        "import sys, numpy\n"
        "from oaml_core.export import OamlOnnx\n"
        "from oaml_core.inference.face_files import load_face\n"
        f"a, b = numpy.load({str(tmp_path / 'images.npy')!r})\n"
        f"print(OamlOnnx({str(exported[1])!r}).compare(a, b).score)\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'torch', 'onnx', 'lightning', 'onnxscript'}, loaded\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert -1 <= float(result.stdout) <= 1


@pytest.mark.parametrize("shape", [(2, 100, 100, 3), (112, 112), (2, 3, 112, 112)])
def test_images_of_another_shape_are_named(exported, shape):
    with pytest.raises(ModelInputError, match=r"\[n, 112, 112, 3\]"):
        OamlOnnx(exported[1]).embed(np.zeros(shape, np.uint8))


def test_files_that_are_no_oaml_model_are_named(tmp_path):
    with pytest.raises(ExportError, match="does not exist"):
        OamlOnnx(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"broken\.onnx cannot be loaded"):
        OamlOnnx(broken)
