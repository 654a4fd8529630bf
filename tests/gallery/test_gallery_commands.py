"""`oaml gallery` and `oaml identify --gallery FILE` as somebody types them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained import write_untrained

from oaml_core.cli import main
from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.errors import ConfigError
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.inference import backends
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.records import FaceRecords, Scores
from oaml_core.training.trained import load_trained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces of four people, and two exported models."""
    folder = tmp_path_factory.mktemp("gallery")
    generator = np.random.default_rng(0)
    drawn = draw_faces(draw_identities(4, generator), np.repeat(np.arange(4), 3), generator).images
    for row, face in enumerate(drawn):
        person = folder / "people" / f"p{row // 3}"
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(folder / f"probe{row // 3}.png" if row % 3 == 2 else person / f"{row % 3}.png")
    for name, width in (("model", 4), ("other", 8)):
        config = Config(model=ModelConfig(arch="ir_mini", width=width))
        trained = load_trained(write_untrained(config, folder / f"{name}.ckpt"))
        export_onnx(trained.recogniser, folder / f"{name}.onnx", config, drawn)
        export_matcher_onnx(trained.recogniser, folder / f"{name}.matcher.onnx", config, drawn)
    return folder


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_from_photographs_to_an_answer_and_to_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = ("--onnx", place / "model.onnx", "--aligned")
    assert run("gallery", "add", "g", place / "people", "--keep_images", *model) == 0
    assert "4 people, 8 faces" in capsys.readouterr().out
    assert run("gallery", "ls", "g") == 0
    assert "     2  p3\n" in capsys.readouterr().out
    assert run("gallery", "ls", "g", "p3") == 0
    assert capsys.readouterr().out.count("; image kept\n") == 2
    assert run("gallery", "ls", "g", "q3") == 1
    assert "There is nobody called 'q3' in the gallery. Did you mean 'p3'?" in capsys.readouterr().err
    assert run("identify", place / "people" / "p2" / "0.png", "--gallery", "g", "--out", "found.png", *model) == 0
    said = capsys.readouterr().out
    assert said.startswith("nearest is p2; no decision")
    assert said.endswith("found.png\n")
    assert (tmp_path / "found.png").is_file()
    assert run("gallery", "verify", "g") == 0
    assert run("gallery", "export", "g", "h") == 0
    assert run("gallery", "rm", "g", "p2") == 0
    assert run("gallery", "merge", "g", "p0", "--person", "p1") == 0
    assert run("gallery", "import", "g", "h") == 0
    assert "4 faces added, 4 were there" in capsys.readouterr().out
    assert run("gallery", "split", "g", "p1", "--key", "1,2", "--person", "Ann") == 0
    assert "2 faces of p1 belong to Ann now" in capsys.readouterr().out
    assert run("gallery", "replace", "g", place / "probe3.png", "--key", "7", *model) == 0
    assert "in place of face 7" in capsys.readouterr().out
    assert run("gallery", "ls", "g", "p3") == 0
    assert "probe3.png" in capsys.readouterr().out


def test_a_search_of_a_gallery_says_the_likelihood_ratio_of_the_first(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, model = tmp_path / "g", ("--onnx", place / "model.onnx", "--aligned")
    assert run("gallery", "add", gallery, place / "people", *model) == 0
    whole = OamlOnnx.scores

    def with_ratio(self: OamlOnnx, probe: FaceRecords, known: FaceRecords) -> Scores:
        found = whole(self, probe, known)
        return found._replace(log_likelihood_ratio=np.where(found.global_score > 0.999, np.log(240), -1.0))

    monkeypatch.setattr(OamlOnnx, "scores", with_ratio)
    capsys.readouterr()
    probe = place / "people" / "p2" / "0.png"
    assert run("identify", probe, "--gallery", gallery, "--out", tmp_path / "x.png", *model) == 0
    assert "; likelihood ratio 240" in capsys.readouterr().out.splitlines()[0]


def test_another_model_is_refused_until_the_gallery_is_rebuilt(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery, other = tmp_path / "g", ("--onnx", place / "other.onnx", "--aligned")
    assert run("gallery", "add", gallery, place / "people", "--onnx", place / "model.onnx", "--aligned") == 0
    search = ("identify", place / "probe1.png", "--gallery", gallery, "--out", tmp_path / "x.png", *other)
    assert run(*search) == 1
    assert "oaml gallery rebuild" in capsys.readouterr().err
    assert run("gallery", "rebuild", gallery, *other) == 0
    assert "8 faces were described" in capsys.readouterr().out
    assert run(*search) == 0
    said = capsys.readouterr().out
    assert "no picture: the gallery keeps no image" in said
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("ls", "none"), 1, "There is no such gallery. none is missing"),
        (("ls", "."), 1, ". is a folder; a gallery is one file"),
        (("rm", "none"), 2, "--key K"),
        (("add", "g"), 2, "one more word"),
        (("add", "g", "nowhere"), 2, "There is no nowhere"),
        (("merge", "g", "a"), 2, "--person NAME"),
        (("frame", "g"), 2, "frame"),
        (("rm", "g", "--key", "three"), 2, "--key three is no number of a face"),
        (("rm", "g", "--key", "3,5"), 2, "takes one face"),
        (("rm", "g", "--key", "9" * 30), 2, "is no number of a face"),
        (("split", "g", "a", "--person", "b"), 2, "--key K,L"),
        (("replace", "g", "a.png"), 2, "--key K"),
    ],
)
def test_what_cannot_be_done_is_named(
    words: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("gallery", *words) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--int8",), 2, "which --int8 cannot be compared with"),
        (("--metrics", "metrics.json"), 2, "--onnx instead of --checkpoint"),
        (("--backend", "openvino"), 2, "openvino cannot run here"),
    ],
)
def test_options_that_say_what_runs_the_model_count_for_a_gallery_in_a_file(
    place: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, gallery = ("--onnx", place / "model.onnx", "--aligned"), tmp_path / "g"
    assert run("gallery", "add", gallery, place / "people", *model) == 0

    def unable(*_: object) -> None:
        raise ConfigError("openvino cannot run here")

    monkeypatch.setattr(backends, "check_backend", unable if "openvino" in words else backends.check_backend)
    search = ("identify", place / "probe1.png", "--gallery", gallery, "--out", tmp_path / "x.png", *model, *words)
    capsys.readouterr()
    assert run(*search) == code
    assert message in capsys.readouterr().err
