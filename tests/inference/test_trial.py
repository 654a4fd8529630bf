"""Backends are judged on drawn faces that travel with the model, and on what float32 says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from untrained import write_untrained

from oaml_core.config import Config, ModelConfig
from oaml_core.errors import ExportError
from oaml_core.export.global_only import Foreign, wrap_recogniser
from oaml_core.export.metadata import store_metadata
from oaml_core.export.onnx_export import export_onnx
from oaml_core.export.trial_faces import trial_faces
from oaml_core.export.variants import write_variant
from oaml_core.inference import backends
from oaml_core.inference.backends import QUANTISED_TOLERANCE, trial_images
from oaml_core.inference.model_files import variant_path
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.quickest import quickest_file
from oaml_core.inference.trial import KEY, read_trial, thinned, write_trial
from oaml_core.training.trained import load_trained

CONFIG = Config(model=ModelConfig(arch="ir_mini", width=8))
SIZE = CONFIG.data.image_size
needs_openvino = pytest.mark.skipif(not backends.has_openvino(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    faces = trial_faces(SIZE)
    trained = load_trained(write_untrained(CONFIG, folder / "best.ckpt"))
    export_onnx(trained.recogniser, folder / "model.onnx", CONFIG, faces)
    path = folder / "model.onnx"
    write_variant(path, variant_path(path, "int8"), "int8", faces, preprocessing=True)
    write_variant(path, variant_path(path, "fp16"), "fp16", faces, preprocessing=True)
    return path


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    for file in exported.parent.glob("*.onnx"):
        shutil.copy(file, tmp_path)
    return tmp_path / "model.onnx"


def entries(path: Path) -> dict[str, str]:
    return {one.key: one.value for one in onnx.load(path).metadata_props}


def with_trial(path: Path, text: str | None) -> None:
    """Give a model another trial, or none."""
    loaded = onnx.load(path)
    kept = entries(path) | {KEY: text or ""}
    onnx.helper.set_model_props(loaded, {key: value for key, value in kept.items() if key != KEY or text})
    onnx.save(loaded, path)


def is_patterns(feeds: backends.Feeds) -> bool:
    return any(np.array_equal(value, trial_images(SIZE)) for value in feeds.values())


def scripted(monkeypatch: pytest.MonkeyPatch, patterns: float, faces: float) -> None:
    """Let OpenVINO's outputs differ by these shares from onnxruntime's, on patterns and on faces."""
    whole = backends.OpenVino.run

    def run(self: backends.OpenVino, outputs: list[str], feeds: backends.Feeds) -> list[np.ndarray]:
        off = np.float32(patterns if is_patterns(feeds) else faces)
        return [value * (1 + off) for value in whole(self, outputs, feeds)]

    monkeypatch.setattr(backends.OpenVino, "run", run)


@needs_openvino
@pytest.mark.parametrize("variant", [None, "int8", "fp16"])
def test_a_network_that_differs_on_patterns_alone_is_taken(
    model: Path, monkeypatch: pytest.MonkeyPatch, variant: str | None
) -> None:
    file = model if variant is None else variant_path(model, variant)
    scripted(monkeypatch, patterns=0.5, faces=0.0)
    assert OamlOnnx(file, backend="auto").runtime.name.startswith("openvino")
    with_trial(file, None)
    assert OamlOnnx(file, backend="auto").runtime.name == "onnxruntime"


@needs_openvino
def test_8_bits_that_are_broken_on_faces_alone_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, off = variant_path(model, "int8"), 0.9 * QUANTISED_TOLERANCE
    scripted(monkeypatch, patterns=0.0, faces=off)
    assert OamlOnnx(small, backend="auto").runtime.name == "onnxruntime"
    with pytest.raises(ExportError, match=r"int8.onnx cannot run in OpenVINO: .* of trial faces differs from float32"):
        OamlOnnx(small, backend="openvino")
    with_trial(small, None)
    assert OamlOnnx(small, backend="auto").runtime.name.startswith("openvino")


def test_a_broken_file_of_8_bits_does_not_answer(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = variant_path(model, "int8")
    store_metadata(model, OamlOnnx(model).metadata | {"images_per_second": 1.0})
    known = OamlOnnx(small).metadata | {"images_per_second": 2.0, "tar": {"by": {}}}
    store_metadata(small, known)
    assert quickest_file(model, "onnxruntime") == small
    graph = onnx.load(small)
    for weights in graph.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype == np.int8 and values.ndim == 4:
            mixed = np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)
            weights.CopyFrom(numpy_helper.from_array(mixed, weights.name))
    onnx.save(graph, small)
    assert quickest_file(model, "onnxruntime") == model
    assert "model.int8.onnx is broken" in caplog.text


def test_trial_faces_and_answers_of_float32_travel_with_every_variant(model: Path) -> None:
    whole = OamlOnnx(model)
    assert whole.trial is not None
    np.testing.assert_array_equal(whole.trial.images, trial_faces(SIZE))
    for name, found in zip(whole.outputs, whole.embed(whole.trial.images), strict=False):
        np.testing.assert_allclose(whole.trial.outputs[name], thinned(found), rtol=1e-5, atol=1e-6)
    assert whole.distance_to_float32() == pytest.approx(0, abs=1e-5)
    for variant in ("int8", "fp16"):
        assert entries(variant_path(model, variant))[KEY] == entries(model)[KEY]
        assert 0 < (OamlOnnx(variant_path(model, variant)).distance_to_float32() or 0) < 0.5
    store_metadata(model, whole.metadata | {"licence": "another"})
    assert entries(model)[KEY] == entries(variant_path(model, "int8"))[KEY]
    assert len(entries(model)[KEY]) < 300_000


def test_added_recognisers_carry_a_trial_too(model: Path, tmp_path: Path) -> None:
    wrap_recogniser(plain_graph(tmp_path / "plain.onnx"), tmp_path / "added.onnx", Foreign("CC0"))
    added = OamlOnnx(tmp_path / "added.onnx")
    assert added.trial is not None
    assert added.distance_to_float32() == pytest.approx(0, abs=1e-5)


def plain_graph(path: Path) -> Path:
    from onnx import TensorProto, helper

    weights = np.random.default_rng(0).normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixels", "w"], ["map"]), helper.make_node("Flatten", ["map"], ["found"])],
        "plain",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_long_outputs_keep_numbers_of_every_place() -> None:
    for side, channels in ((7, 512), (14, 128)):
        places = np.broadcast_to(np.arange(side * side).reshape(side, side), (2, channels, side, side))
        assert len(np.unique(thinned(places)[0])) == side * side
    assert thinned(np.zeros((2, 512))).shape == (2, 512)


TEXT = write_trial(trial_faces(SIZE)[:2], {"embedding": np.ones((2, 4), np.float32)})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"faces": []}, "damaged"),
        ({"faces": ["%%%%", "%%%%"]}, "no base64"),
        ({"faces": ["AAAA", "AAAA"]}, "damaged"),
        ({"faces": [7]}, "'7' is no text"),
        ({"faces": {}}, "faces is dict"),
        ({"outputs": {"embedding": "AAAA"}}, "damaged"),
        ({"outputs": {"embedding": ""}}, "embedding holds no finite numbers"),
        ({"outputs": {"embedding": "AADAfwAAwH8="}}, "embedding holds no finite numbers"),
    ],
)
def test_a_damaged_trial_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ExportError, match=rf"(?s)The trial of m.onnx.*{named}.*Export the model again"):
        read_trial(json.dumps(json.loads(TEXT) | change), "m.onnx", SIZE)
    with pytest.raises(ExportError, match="the model takes 96 × 96"):
        read_trial(TEXT, "m.onnx", 96)


@needs_openvino
def test_a_trial_of_another_model_is_no_reason_to_fail(model: Path) -> None:
    with_trial(model, TEXT)
    assert OamlOnnx(model, backend="auto").runtime.name.startswith("openvino")
