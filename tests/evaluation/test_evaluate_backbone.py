"""`oaml evaluate --backbone`: published weights and ONNX files are measured without any training."""

from __future__ import annotations

import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oaml_core.cli import main
from oaml_core.config import Config, DataConfig
from oaml_core.evaluation.scoring.conditions import BOTH
from oaml_core.evaluation.scoring.stored import read_scores
from oaml_core.evaluation.verdict.comparison import compare
from oaml_core.inference.any_onnx import PlainOnnx
from oaml_core.models.build import build_backbone
from oaml_core.settings import config_to_yaml
from oaml_core.stages import prepare
from tests.onnx_shapes import graph

ARCHIVE = b"PK\3\4 no graph"
WORDS = [
    *("--evaluate.far", "[0.1]", "--evaluate.occluders", "[veil]", "--evaluate.block_shares", "[]"),
    *("--evaluate.sides", "[second,both]", "--model.width", "4"),
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a prepared data set, the same weights as checkpoint and as graph; the data set's address."""
    folder = tmp_path_factory.mktemp("shelf")
    data = DataConfig(synthetic_identities=4, synthetic_images_per_identity=2, synthetic_pairs=40)
    config = Config(data=data, store=str(folder / "store"), work_dir=str(folder / "work"))
    (folder / "config.yaml").write_text(config_to_yaml(config))
    torch.manual_seed(0)
    backbone = build_backbone("ir_mini", width=4).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in backbone.state_dict().items()}}, folder / "published.pth")

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found = self.backbone(images)
            raw: torch.Tensor = found.embedding * found.norm
            return raw

    torch.onnx.export(
        Plain(),
        (torch.zeros(2, 3, 112, 112),),
        folder / "published.onnx",
        input_names=["input"],
        dynamic_axes={"input": {0: "n"}},
        dynamo=False,
    )
    return folder, prepare(config).dataset_uri


def png(number: int) -> bytes:
    data = io.BytesIO()
    values = np.random.default_rng(number).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(values).save(data, "PNG")
    return data.getvalue()


def evaluate(shelf: tuple[Path, str], *words: str) -> int:
    folder, dataset = shelf
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--config", str(folder / "config.yaml"), "--dataset", dataset, *WORDS, *words])
    return int(ended.value.code or 0)


def test_the_file_is_looked_at_before_data_is_prepared(
    shelf: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--store", str(tmp_path / "store"), "--data.source", str(tmp_path / "no-faces")]
    for given, said in ((tmp_path / "gone.pth", "is not there"), (tmp_path, "is a folder"), (ARCHIVE, "ONNX")):
        path = tmp_path / "faces.onnx"
        if isinstance(given, bytes):
            path.write_bytes(given)
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", "--backbone", str(path if isinstance(given, bytes) else given), *words])
        assert ended.value.code != 0
        error = capsys.readouterr().err
        assert said in error
        assert "no-faces" not in error


def test_verification_sets_without_training_faces_are_measured(
    shelf: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Test a source of verification sets alone: a published file is often measured on no more."""
    folder, _ = shelf
    (tmp_path / "sets").mkdir()
    faces = [png(number) for number in range(24)]
    (tmp_path / "sets" / "LFW.BIN").write_bytes(pickle.dumps((faces, [True, False] * 6)))
    for key in ("source", "verification_source"):
        words = [f"--data.{key}", str(tmp_path / "sets"), "--store", str(tmp_path / key), "--work_dir", str(tmp_path)]
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", "--backbone", str(folder / "published.onnx"), *words, *WORDS])
        assert ended.value.code == 0, capsys.readouterr().err
        assert "LFW" in capsys.readouterr().out


def test_one_embedding_for_every_face_is_no_result(shelf: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of zeros, as an exporter leaves that found none, would be a model that knows nobody."""
    folder, _ = shelf
    zeros = {name: torch.zeros_like(value) for name, value in build_backbone("ir_mini", width=4).state_dict().items()}
    torch.save(zeros, folder / "zeros.pth")
    assert evaluate(shelf, "--backbone", str(folder / "zeros.pth"), "--arch", "ir_mini") != 0
    assert "the same embedding for every face" in capsys.readouterr().err


def test_a_size_that_no_data_set_has_is_refused_without_false_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = graph(tmp_path / "small.onnx")  # 32 × 32
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--backbone", str(path), "--data.source", str(tmp_path / "none")])
    assert ended.value.code != 0
    error = capsys.readouterr().err
    assert "takes faces of 32 pixels; data sets hold faces of 112 or 224" in error
    assert "--data.image_size" not in error


def test_sets_of_one_kind_are_refused_before_a_face_is_described(
    shelf: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets").mkdir()
    for name, flags in (("a", [True, False]), ("b", [True, True])):
        (tmp_path / "sets" / f"{name}.bin").write_bytes(pickle.dumps(([png(number) for number in range(4)], flags)))
    monkeypatch.setattr(PlainOnnx, "records", lambda *_: pytest.fail("a face is described"))
    words = ["--data.source", str(tmp_path / "sets"), "--store", str(tmp_path / "st"), "--work_dir", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--backbone", str(shelf[0] / "published.onnx"), *words, *WORDS])
    assert ended.value.code != 0
    assert "Verification set b: There is no impostor pair among the 2 pairs" in capsys.readouterr().err


def costs_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "store" / "costs").rglob("*.evaluate-backbone.*")}


def results(folder: Path, stem: str, ending: str) -> Path:
    (found,) = (folder / "work" / "backbones").glob(f"{stem}-*{ending}")
    return found


def test_checkpoint_and_graph_of_the_same_weights_score_alike(
    shelf: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = shelf
    scores = {}
    before = costs_of(folder)
    for file, options in (("published.pth", ["--arch", "ir_mini"]), ("published.onnx", [])):
        assert evaluate(shelf, "--backbone", str(folder / file), *options) == 0
        said = capsys.readouterr().out
        assert "are absent" in said
        assert "| veil | " in said
        report = Path(said.strip().splitlines()[-1])
        scores[file] = read_scores(report.with_name("scores.npz"))
        found = json.loads(report.with_name("metrics.json").read_text())
        assert set(found["headline"]) == {"val_accuracy_clean_global", "val_accuracy_occluded_global"}
        for one in found["sets"].values():
            assert one["combined"] is None
            for condition in one["conditions"].values():
                assert list(condition["scores"]) == ["global"]
                assert condition["visibility"] is None
            assert one["conditions"][f"veil{BOTH}"]["covered_share"] > 0
        text = report.read_text()
        assert "gives embeddings alone" in text
        assert not re.search(r"\bnan\b", re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL), re.IGNORECASE)
    one, other = scores.values()
    for name, found in one.items():
        for condition, values in found.values.items():
            np.testing.assert_allclose(values["global"], other[name].values[condition]["global"], atol=1e-3)
    differences = compare(one, other, [0.1]).differences
    assert {difference.score for difference in differences} == {"global"}
    assert len(costs_of(folder) - before) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--checkpoint .* and --backbone"),
        (["--backbone", "a.pth", "--checkpoint", "b.ckpt"], "Give one of"),
        (["--backbone", "missing.pth"], "missing.pth is not there"),
        (["--backbone", "{folder}/published.pth", "--arch", "ir_18"], "set model.arch to ir_mini and model.width to 4"),
        (["--backbone", "{folder}/config.yaml"], "config.yaml"),
    ],
)
def test_what_cannot_be_measured_is_named(
    shelf: tuple[Path, str], capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert evaluate(shelf, *(word.format(folder=shelf[0]) for word in words)) != 0
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(said, error)
