"""`oaml model adapt`: from published weights to a model that answers, by one command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from untrained import write_untrained

from oaml_core.cli import main
from oaml_core.config import DataConfig
from oaml_core.errors import CheckpointError
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.models.build import build_backbone
from oaml_core.settings import load_config
from oaml_core.stages.adapted_model import SETTINGS, settings_for
from oaml_core.stages.added_model import find_model

DOCS = Path(__file__).parents[2] / "docs" / "adapting-a-backbone.md"
SMALL = {
    "model.arch": "ir_mini",
    "model.width": 4,
    "model.local_layers": 2,
    "data.synthetic_identities": 24,
    "data.batch_size": 16,
    "optim.epochs": 1,
    "train.compile": "off",
    "train.nproc": 1,
    "evaluate.occluders": ["surgical"],
    "evaluate.block_shares": [],
    "export.variants": ["int8"],
    "export.accuracy_loss": 0.5,
}


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "published.pt"
    torch.save(build_backbone("ir_mini", width=4).state_dict(), path)
    return path


def words_of(weights: Path, folder: Path, **other: object) -> list[str]:
    keys = {**SMALL, "work_dir": folder / "work", "store": folder / "store", **other}
    options = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    return ["model", "adapt", str(weights), "--licence", "MIT, by somebody", *options]


@pytest.mark.slow
def test_one_command_leads_from_weights_to_a_model_that_answers(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words_of(weights, tmp_path)) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    config = load_config("smoke", ["--store", str(tmp_path / "store"), "--work_dir", str(tmp_path / "other")])
    model = find_model(config)
    assert model.metadata["licence"] == said["licence"] == "MIT, by somebody"
    assert model.metadata["config"]["name"] == "published-adapted"
    assert model.metadata["config"]["loss"]["distillation_loss_weight"] == 20, "the recipe `adapt` was taken"
    assert model.thresholds("combined"), "it decides by thresholds of its evaluation"
    added = Path(said["model"].removeprefix("file://")).parent
    kept = {
        path.name for path in added.iterdir() if not path.name.startswith(".") and not path.name.endswith(".sha256")
    }
    assert kept == {"model.onnx", "model.matcher.onnx", "model.int8.onnx", "MODEL_CARD.md", "trained_on.json"}
    assert "MIT, by somebody" in (added / "MODEL_CARD.md").read_text()
    assert OamlOnnx(added / "model.onnx").version == model.version
    assert Path(said["report"].removeprefix("file://")).is_file()

    assert run(*words_of(weights, tmp_path)) == 0
    assert "epoch" not in capsys.readouterr().err, "what was done is not done again"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"verification": "pairs.bin"}, "leave out --verification"),
        ({"config": "smoke"}, "set model.freeze_backbone"),
        ({"data.synthetic_identities": DataConfig().synthetic_identities}, "--data.source FOLDER"),
        ({"model.arch": "ir_18"}, "is not of this backbone"),
    ],
)
def test_what_cannot_be_adapted_is_refused_before_hours_go_into_it(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], other: dict[str, object], said: str
) -> None:
    assert run(*words_of(weights, tmp_path, **other)) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words_of(tmp_path / "none.onnx", tmp_path)) != 0
    assert f"There is no file {tmp_path / 'none.onnx'}" in capsys.readouterr().err


@pytest.mark.parametrize("arch", ["mobilefacenet", "ir_18"])
def test_the_architecture_is_told_by_the_weights(tmp_path: Path, arch: str) -> None:
    path = write_untrained(load_config("smoke", ["--model.arch", arch]), tmp_path / "best.ckpt")
    words = settings_for(path)
    assert words[:2] == ["--model.arch", arch]
    assert words[2:] == [word for key, value in SETTINGS[arch].items() for word in (f"--{key}", str(value))]


def test_weights_of_no_architecture_are_refused_with_every_reason(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"(?s)no architecture.*mobilefacenet: .*\nmobilenet: .*\nir_18: .*\nir_50: "
    ):
        settings_for(weights)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(CheckpointError, match=r"text\.onnx") as refused:
        settings_for(tmp_path / "text.onnx")
    assert "mobilenet:" not in str(refused.value), "one reason is told once"


def test_the_page_has_the_settings_that_the_command_takes() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for arch, settings in SETTINGS.items():
        written = " ".join([f"--model.arch {arch}", *(f"--{key} {value}" for key, value in settings.items())])
        assert f"`{written}" in page, written
