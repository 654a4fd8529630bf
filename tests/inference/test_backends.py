"""Exported models run by onnxruntime or OpenVINO: which one answers, that both say the same, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from untrained import write_untrained

import oaml_core as oaml
from oaml_core.cli import main
from oaml_core.config import Config, ModelConfig
from oaml_core.errors import ConfigError, ExportError
from oaml_core.export.metadata import store_metadata
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.export.variants import write_variant
from oaml_core.inference import backends
from oaml_core.inference.any_onnx import PlainOnnx
from oaml_core.inference.backends import TOLERANCES, OnnxRuntime, trial_images
from oaml_core.inference.model_files import variant_path
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.onnx_outputs import OUTPUTS
from oaml_core.inference.quickest import quickest_file
from oaml_core.training.trained import load_trained

CONFIG = Config(model=ModelConfig(arch="ir_mini", width=8))
SIZE = CONFIG.data.image_size
needs_openvino = pytest.mark.skipif(not backends.has_openvino(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (6, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(SIZE // 14, axis=1).repeat(SIZE // 14, axis=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, faces: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained = load_trained(write_untrained(CONFIG, folder / "best.ckpt"))
    export_onnx(trained.recogniser, folder / "model.onnx", CONFIG, faces)
    export_matcher_onnx(trained.recogniser, folder / "model.matcher.onnx", CONFIG, faces)
    write_variant(folder / "model.onnx", folder / "model.int8.onnx", "int8", faces, preprocessing=True)
    return folder / "model.onnx"


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "has_openvino", lambda: False)


@needs_openvino
@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_openvino_is_taken_and_says_the_same(model: Path, faces: np.ndarray, backend: backends.Backend) -> None:
    ours, reference = OamlOnnx(model, backend=backend), OamlOnnx(model)
    assert ours.runtime.name.startswith("openvino")
    assert ours.matcher is not None
    assert ours.matcher.name == "openvino f32"
    assert reference.runtime.name == "onnxruntime"
    for count in (1, 3, 6):
        for found, expected in zip(ours.embed(faces[:count]), reference.embed(faces[:count]), strict=True):
            assert found.shape == expected.shape
            assert np.linalg.norm(found - expected) <= TOLERANCES["bf16"] * np.linalg.norm(expected)
    a, b = ours.records(faces[:3]), ours.records(faces[3:])
    other = reference.scores(reference.records(faces[:3]), reference.records(faces[3:]))
    np.testing.assert_allclose(ours.scores(a, b).global_score, other.global_score, atol=1e-2)


@needs_openvino
def test_threads_share_a_model_and_get_their_own_results(model: Path, faces: np.ndarray) -> None:
    ours = OamlOnnx(model, backend="openvino")
    alone = [ours.embed(face).embedding for face in faces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: ours.embed(faces[i % 6]).embedding, range(48)))
    for i, found in enumerate(together):
        np.testing.assert_allclose(found, alone[i % 6], atol=1e-6)


@needs_openvino
def test_openvino_that_differs_is_passed_over_or_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = backends.OpenVino.run

    def wrong(self: backends.OpenVino, outputs: list[str], feeds: backends.Feeds) -> list[np.ndarray]:
        return [value * np.float32(1.2) for value in whole(self, outputs, feeds)]

    monkeypatch.setattr(backends.OpenVino, "run", wrong)
    assert OamlOnnx(model, backend="auto").runtime.name == "onnxruntime"
    with pytest.raises(ExportError, match=r"differs from float32 by 0\.2"):
        OamlOnnx(model, backend="openvino")


@needs_openvino
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_openvino_without_numbers_is_passed_over(model: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    whole = backends.OpenVino.run
    monkeypatch.setattr(
        backends.OpenVino, "run", lambda self, names, feeds: [x * value for x in whole(self, names, feeds)]
    )
    assert OamlOnnx(model, backend="auto").runtime.name == "onnxruntime"


@needs_openvino
def test_graph_that_openvino_refuses_is_run_by_onnxruntime(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ExportError("no such operator")

    monkeypatch.setattr(backends, "OpenVino", refuse)
    assert OamlOnnx(model, backend="auto").runtime.name == "onnxruntime"
    with pytest.raises(ExportError, match="no such operator"):
        OamlOnnx(model, backend="openvino")


@needs_openvino
def test_half_precision_is_tried_first_where_the_processor_has_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "usable", list)
    assert OamlOnnx(model, backend="auto").runtime.name == "openvino bf16"
    monkeypatch.setitem(backends.TOLERANCES, "bf16", -1.0)
    assert OamlOnnx(model, backend="auto").runtime.name == "openvino f32"


@needs_openvino
def test_8_bits_differ_little_between_the_backends(model: Path, faces: np.ndarray) -> None:
    small = variant_path(model, "int8")
    found, expected = OamlOnnx(small, backend="auto").embed(faces), OamlOnnx(small).embed(faces)
    assert np.linalg.norm(found.embedding - expected.embedding) <= 0.1 * np.linalg.norm(expected.embedding)


@pytest.mark.usefixtures("without_openvino")
def test_without_openvino_auto_is_onnxruntime_and_asking_for_it_says_what_to_install(model: Path) -> None:
    assert OamlOnnx(model, backend="auto").runtime.name == "onnxruntime"
    with pytest.raises(ConfigError, match=r"pip install 'oaml\[fast\]'"):
        OamlOnnx(model, backend="openvino")


@pytest.mark.usefixtures("without_openvino")
def test_command_says_what_to_install(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["match", "a.png", "b.png", "--onnx", str(model), "--backend", "openvino", "--work_dir", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code
    assert "oaml[fast]" in capsys.readouterr().err


def test_backend_of_a_checkpoint_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["match", "a.png", "b.png", "--checkpoint", str(model.with_name("best.ckpt")), "--backend", "onnxruntime"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code
    assert "--backend is for exported models" in capsys.readouterr().err


def test_unknown_backend_and_providers_of_another_are_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match="'tensorrt'"):
        OamlOnnx(model, backend="tensorrt")  # type: ignore[arg-type]
    if backends.has_openvino():
        with pytest.raises(ConfigError, match="providers"):
            OamlOnnx(model, ["CPUExecutionProvider"], backend="openvino")


def test_trial_images_are_those_of_every_call() -> None:
    first, second = trial_images(SIZE), trial_images(SIZE)
    assert first.shape == (4, SIZE, SIZE, 3)
    assert first.dtype == np.uint8
    assert (first == second).all()
    assert first.std() > 20


def test_waiting_threads_sleep(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession
    seen: list[tuple[str, int]] = []

    def opened(path: str, options: onnxruntime.SessionOptions, **rest: object) -> object:
        seen.append((options.get_session_config_entry("session.intra_op.allow_spinning"), options.intra_op_num_threads))
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    OamlOnnx(model, threads=1)
    PlainOnnx(model)
    assert len(seen) >= 2
    assert {spinning for spinning, _ in seen} == {"0"}
    assert seen[0][1] == 1


def test_graph_states_its_inputs_and_outputs(model: Path) -> None:
    graph = OnnxRuntime(model)
    assert graph.inputs == ["images"]
    assert tuple(graph.outputs) == OUTPUTS


def test_no_backend_brings_torch(model: Path) -> None:
    code = (
        "import sys\nfrom oaml_core.inference.onnx_model import OamlOnnx\n"
        "from oaml_core.inference.backends import trial_images\n"
        f"OamlOnnx({str(model)!r}, backend='auto').records(trial_images({SIZE}))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def with_metadata(path: Path, **known: object) -> None:
    store_metadata(path, OamlOnnx(path).metadata | known)


@pytest.fixture
def recorded(model: Path, tmp_path: Path) -> Path:
    for file in model.parent.glob("*.onnx"):
        shutil.copy(file, tmp_path)
    with_metadata(tmp_path / "model.onnx", images_per_second=50)
    with_metadata(tmp_path / "model.int8.onnx", images_per_second=40, tar={"by": {"openvino f32": {"clean": {}}}})
    return tmp_path / "model.onnx"


def answering(path: Path, **choice: object) -> Path:
    loaded = oaml.load_model(path, **choice)
    assert isinstance(loaded, OamlOnnx)
    return path if loaded.version == OamlOnnx(path).version else variant_path(path, "int8")


@needs_openvino
def test_8_bits_answer_only_where_they_are_allowed(recorded: Path) -> None:
    assert answering(recorded, backend="auto") == recorded
    assert answering(recorded, backend="auto", int8=True) == variant_path(recorded, "int8")


@needs_openvino
def test_8_bits_that_openvino_refused_at_the_export_are_passed_over(recorded: Path) -> None:
    with_metadata(variant_path(recorded, "int8"), tar={"by": {"openvino": {"refused": "differs"}}})
    assert answering(recorded, backend="auto", int8=True) == recorded


@pytest.mark.usefixtures("without_openvino")
def test_by_onnxruntime_8_bits_answer_where_the_export_found_them_quicker(recorded: Path) -> None:
    assert answering(recorded, backend="auto", int8=True) == recorded
    with_metadata(variant_path(recorded, "int8"), images_per_second=51)
    assert answering(recorded, backend="auto", int8=True) == variant_path(recorded, "int8")


def test_8_bits_without_an_accuracy_on_record_or_without_a_file_are_passed_over(model: Path, recorded: Path) -> None:
    assert quickest_file(model) == model
    variant_path(recorded, "int8").unlink()
    assert quickest_file(recorded) == recorded


def test_8_bits_of_a_checkpoint_are_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["match", "a.png", "b.png", "--checkpoint", str(model.with_name("best.ckpt")), "--int8"])
    assert ended.value.code
    assert "--int8 is for exported models" in capsys.readouterr().err


@needs_openvino
def test_models_that_come_and_go_leave_a_process_that_can_be_signalled(model: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom oaml_core.inference.backends import OpenVino\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('heard'))\n"
        f"first = OpenVino(Path({str(model)!r}))\nsecond = OpenVino(Path({str(model)!r}))\n"
        "del first\ndel second\nos.kill(os.getpid(), signal.SIGUSR1)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "heard\n"), said.stderr
