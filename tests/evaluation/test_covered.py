"""`oaml benchmark covered`: any recogniser, the same pairs, drawn, cut-out and real cover side by side."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image, ImageDraw
from plain_onnx import recogniser

from oaml_core.cli import main
from oaml_core.errors import DataError, ExportError
from oaml_core.evaluation.covered.charts import SCORES
from oaml_core.evaluation.covered.cutouts import wear
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.evaluation.covered.score import draw_pairs
from oaml_core.inference.any_onnx import PlainOnnx

PEOPLE, EACH = 24, 4
SIZE = 112


def person(number: int) -> np.ndarray:
    """Colours of 4 × 4 patches: who is who can be seen in every part of the image."""
    return np.random.default_rng(number).integers(40, 216, (4, 4, 3)).astype(np.float64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Faces, cut-outs, and faces of which half wear a black lower half."""
    root = tmp_path_factory.mktemp("covered")
    generator = np.random.default_rng(0)
    for name, first in (("faces", 0), ("real", 100)):
        for number in range(PEOPLE):
            folder = root / name / f"person{number:03d}"
            folder.mkdir(parents=True)
            for k in range(EACH):
                colours = np.clip(person(first + number) + generator.normal(0, 22, (4, 4, 3)), 0, 255)
                image = colours.astype(np.uint8).repeat(28, axis=0).repeat(28, axis=1)
                masked = name == "real" and k >= EACH // 2
                if masked:
                    image[56:] = 0
                Image.fromarray(image).save(folder / f"{k}_{'masked' if masked else 'clean'}.png")
    for kind, box in (("mask", (5, 5, 95, 55)), ("glasses", (0, 0, 100, 30))):
        (root / "cutouts" / kind).mkdir(parents=True)
        picture = Image.new("RGBA", (100, 60 if kind == "mask" else 31))
        ImageDraw.Draw(picture).rectangle(box, fill=(20, 120, 200, 255))
        picture.save(root / "cutouts" / kind / "0.png")
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return recogniser(tmp_path_factory.mktemp("onnx") / "plain.onnx", [0, 1, 2])


def test_two_models_are_measured_on_the_same_pairs(folders, plain, tmp_path, capsys):
    other = recogniser(tmp_path / "other.onnx", [2, 1, 0])
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "benchmark",
                "covered",
                "--model",
                str(plain),
                "--model",
                f"{other}@bgr",
                "--faces",
                str(folders / "faces"),
                "--occluders",
                str(folders / "cutouts"),
                "--real",
                str(folders / "real"),
                "--drawn",
                "surgical",
                "--far",
                "0.01",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    assert ended.value.code == 0
    found = json.loads((tmp_path / "out" / "covered.json").read_text())
    conditions = found["models"][str(plain)]["faces"]["conditions"]
    assert list(conditions) == ["clean", "surgical, drawn", "glasses, cut-outs", "mask, cut-outs"]
    clean, mask = (conditions[name]["global"] for name in ("clean", "mask, cut-outs"))
    assert clean["tar"] > mask["tar"]
    assert clean["tar_interval"][0] <= clean["tar"] <= clean["tar_interval"][1]
    assert clean["real_far"] == pytest.approx(0.01, abs=1e-3)
    assert found["sets"]["faces"]["genuine"] == PEOPLE * EACH * (EACH - 1)
    assert found["sets"]["real"]["genuine"] == PEOPLE * (EACH // 2) ** 2
    assert found["sets"]["faces"]["covered_share"]["mask, cut-outs"] > 0.15
    real = found["models"][str(plain)]["real"]["conditions"]
    assert list(real) == ["uncovered", "covered in life"]
    # Given its own order of colours the second model sees what the first one sees.
    second = found["models"][f"{other}@bgr"]["faces"]
    assert second["conditions"]["mask, cut-outs"]["global"]["tar"] == pytest.approx(mask["tar"], abs=1e-9)
    assert second["against_first"]["mask, cut-outs"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    shown = capsys.readouterr().out
    assert "one threshold" in shown
    page = (tmp_path / "out" / "covered.html").read_text()
    assert "covered in life" in page
    # A chart of each set of both models: TAR and real FAR; no score but the global one has a difference to show.
    assert page.count('<div class="dots">') == 2 * 2 * 2
    assert f"<title>mask, cut-outs: global {100 * mask['tar']:.2f} %</title>" in page


def test_a_run_repeats_to_the_last_digit(folders, plain, tmp_path):
    outputs = []
    for name in ("one", "two"):
        with pytest.raises(SystemExit):
            main(
                [
                    "benchmark",
                    "covered",
                    f"--model={plain}",
                    "--faces",
                    str(folders / "faces"),
                    "--drawn",
                    "hand",
                    "--far",
                    "0.01",
                    "--out",
                    str(tmp_path / name),
                ]
            )
        outputs.append((tmp_path / name / "covered.json").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--far": "1e-6"}, "needs 1,000,000 impostor pairs"),
        ({"--model": "nothing.onnx"}, "nothing.onnx"),
        ({"--faces": "nowhere"}, "nowhere"),
        ({"--drawn": "surgica"}, "Did you mean 'surgical'"),
    ],
)
def test_what_cannot_be_measured_is_named(folders, plain, tmp_path, capsys, changed, message):
    words = {"--model": str(plain), "--faces": str(folders / "faces"), "--drawn": "", "--out": str(tmp_path / "out")}
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "covered", *(part for pair in (words | changed).items() for part in pair)])
    assert ended.value.code in (1, 2)
    assert message in capsys.readouterr().err


def test_genuine_pairs_are_all_there_and_impostors_are_drawn_once(folders):
    faces = open_faces(folders / "faces")
    every = np.ones(len(faces.images), dtype=bool)
    pairs = draw_pairs(faces, every, every, 500)
    assert pairs.issame.sum() == PEOPLE * EACH * (EACH - 1)
    assert (~pairs.issame).sum() == 500
    assert len(set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))) == len(pairs.first)
    assert (faces.people[pairs.first] == faces.people[pairs.second]).tolist() == pairs.issame.tolist()


@pytest.mark.parametrize(("kind", "hidden", "seen"), [("glasses", (51, 55), (95, 55)), ("mask", (95, 55), (40, 55))])
def test_cutouts_lie_where_they_are_worn(folders, kind, hidden, seen):
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    cutout = folders / "cutouts" / kind / "0.png"
    covered, visible = wear(image, None, kind, cutout, np.random.default_rng(0))
    assert visible[hidden] < 0.1
    assert visible[seen] == 1.0
    assert covered[hidden].sum() < 500
    assert (covered[visible == 1.0] == 255).all()
    # They follow the face.
    moved = np.array([[48.0, 61], [83, 61], [66, 82], [51, 102], [80, 102]], np.float32)
    _, shifted = wear(image, moved, kind, cutout, np.random.default_rng(0))
    assert np.argwhere(shifted < 0.5).mean(0)[1] > np.argwhere(visible < 0.5).mean(0)[1] + 5


def test_a_cutout_without_transparency_is_named(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "solid.png")
    with pytest.raises(DataError, match=r"solid\.png has no transparency"):
        wear(np.zeros((SIZE, SIZE, 3), np.uint8), None, "mask", tmp_path / "solid.png", np.random.default_rng(0))


def test_a_model_of_another_shape_is_named(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 5]) for name in ("x", "y")]
    graph = helper.make_graph([node], "other", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "o.onnx")
    with pytest.raises(ExportError, match=r"\[N, 3, H, W\]"):
        PlainOnnx(tmp_path / "o.onnx")


def test_no_two_scores_are_drawn_in_one_colour():
    style = (files("oaml_core.evaluation.report") / "assets" / "report.css").read_text()
    for number in (0, 1):  # light and dark
        colours = [re.findall(rf"--{score}: (#[0-9a-f]{{6}});", style)[number] for score in SCORES]
        assert len(set(colours)) == len(SCORES)
    for score in SCORES:
        assert f".{score} {{ --c: var(--{score}); }}" in style
        assert f".key.{score}, " in style
