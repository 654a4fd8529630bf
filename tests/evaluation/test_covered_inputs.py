"""`oaml benchmark covered` on what its users have: odd folders, models and names."""

from __future__ import annotations

import json
import logging
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from plain_onnx import recogniser

from oaml_core.cli import main
from oaml_core.data.augment.cutouts import open_cutouts
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.export.global_only import Foreign, wrap_recogniser

PEOPLE, EACH = 6, 3


def draw(folder, first=0, names=("0", "1", "2"), size=112):
    """Write people of 4 × 4 patches, each picture a little different."""
    generator = np.random.default_rng(first)
    for number in range(PEOPLE):
        colours = np.random.default_rng(1000 + first + number).integers(40, 216, (4, 4, 3))
        (folder / f"person{number}").mkdir(parents=True)
        for name in names:
            noisy = np.clip(colours + generator.normal(0, 22, (4, 4, 3)), 0, 255).astype(np.uint8)
            picture = noisy.repeat(size // 4, axis=0).repeat(size // 4, axis=1)
            Image.fromarray(picture).save(folder / f"person{number}" / f"{name}.png")
    return folder


@pytest.fixture
def faces(tmp_path):
    return draw(tmp_path / "faces")


@pytest.fixture
def plain(tmp_path):
    return recogniser(tmp_path / "plain.onnx", [0, 1, 2])


def constant(path, side=112):
    """Write a recogniser that gives the same embedding whatever it is shown."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Mul", ["f", "zero"], ["m"]),
        helper.make_node("Add", ["m", "one"], ["embedding"]),
    ]
    given, found = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("data", ["n", 3, side, side]), ("embedding", ["n", 3]))
    )
    values = [helper.make_tensor("zero", 1, [1], [0.0]), helper.make_tensor("one", 1, [1], [1.0])]
    graph = helper.make_graph(nodes, "constant", [given], [found], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def run(capsys, *words):
    """Return exit code, standard error and output of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "covered", "--drawn", "", "--far", "0.1", *map(str, words)])
    shown = capsys.readouterr()
    return ended.value.code, shown.err, shown.out


def test_a_real_set_of_the_same_name_takes_no_figures_away(faces, plain, tmp_path, capsys):
    real = draw(tmp_path / "real" / "faces", 50, ("0", "1", "2_masked"))
    assert run(capsys, "--model", plain, "--faces", faces, "--real", real, "--out", tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out" / "covered.json").read_text())
    assert list(found["sets"]) == ["faces", "faces (real)"]
    sets = found["models"][str(plain)]
    assert list(sets["faces"]["conditions"]) == ["clean"]
    assert list(sets["faces (real)"]["conditions"]) == ["uncovered", "covered in life"]
    assert found["sets"]["faces (real)"]["uncovered"] == {"genuine": PEOPLE * 2, "impostors": 5 * PEOPLE * 4}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("0", "1", "2"), "real: none of its faces is covered. Names of covered ones end in _masked"),
        (("0_masked", "1_Masked"), "real: none of its faces is uncovered"),
        (("0", "1_masked"), "real (uncovered) has no genuine pair"),
    ],
)
def test_a_real_set_that_lacks_a_side_says_which(names, said, faces, plain, tmp_path, capsys):
    real = draw(tmp_path / "real", 50, names)
    code, told, _ = run(capsys, "--model", plain, "--faces", faces, "--real", real, "--out", tmp_path / "out")
    assert code == 1
    assert said in told
    assert not (tmp_path / "out").exists()


def test_covered_photographs_are_no_uncovered_faces(plain, tmp_path, capsys, caplog):
    faces = draw(tmp_path / "faces", 0, ("0", "1", "2_MASKED"))
    with caplog.at_level(logging.WARNING):
        assert run(capsys, "--model", plain, "--faces", faces, "--out", tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out" / "covered.json").read_text())["sets"]["faces"]
    assert (found["faces"], found["people"], found["genuine"]) == (2 * PEOPLE, PEOPLE, 2 * PEOPLE)
    assert "6 images are left out of the uncovered faces" in caplog.text


def test_the_same_picture_counts_once_and_never_for_two_people(faces, caplog):
    shutil.copy(faces / "person0" / "0.png", faces / "person0" / "copy.png")
    shutil.copy(faces / "person1" / "0.png", faces / "person2" / "other.png")
    with caplog.at_level(logging.WARNING):
        found = open_faces(faces)
    assert np.bincount(found.people).tolist() == [3, 2, 3, 3, 3, 3]
    assert "person0/copy.png. A picture compared with itself" in caplog.text
    assert "several people: person1/0.png, person2/other.png. Remove it where it is wrong." in caplog.text


def test_images_that_lie_elsewhere_are_told(faces, caplog):
    (faces / "person0" / "deeper").mkdir()
    shutil.copy(faces / "person0" / "0.png", faces / "person0" / "deeper" / "9.png")
    with caplog.at_level(logging.WARNING):
        assert len(open_faces(faces).images) == PEOPLE * EACH
    assert "1 image is left out, for faces lie as person/file.jpg" in caplog.text
    assert "deeper/9.png" in caplog.text


def test_landmarks_are_of_the_file_s_pixels_and_unknown_ones_are_told(tmp_path, caplog):
    faces = draw(tmp_path / "faces", size=224)
    points = [[76, 103], [147, 103], [112, 143], [83, 185], [141, 184]]
    (faces / "landmarks.json").write_text(json.dumps({"person0/0.png": points, "0.png": points}))
    with caplog.at_level(logging.WARNING):
        found = open_faces(faces)
    assert found.landmarks is not None
    np.testing.assert_allclose(found.landmarks[0], np.array(points) / 2)
    assert "1 entry is of none of the 18 faces; the first is 0.png" in caplog.text


def test_a_model_of_another_size_is_refused_before_any_is_measured(faces, plain, tmp_path, capsys):
    other = constant(tmp_path / "wide.onnx", 160)
    code, told, _ = run(
        capsys, "--model", plain, "--model", f"{other}@raw", "--faces", faces, "--out", tmp_path / "out"
    )
    assert code == 1
    assert "takes faces of 160 × 160 pixels, and the benchmark's are 112 × 112" in told
    assert "conditions in" not in told


def test_a_model_that_sees_nothing_is_refused_unless_its_range_is_named(faces, tmp_path, capsys, caplog):
    model = constant(tmp_path / "constant.onnx")
    code, told, _ = run(capsys, "--model", model, "--faces", faces, "--out", tmp_path / "out")
    assert code == 2
    assert "four different pictures give nearly the same embedding" in told
    assert f"{model}@raw measures it as it is" in told
    with caplog.at_level(logging.WARNING):
        assert run(capsys, "--model", f"{model}@raw", "--faces", faces, "--out", tmp_path / "out")[0] == 0
    assert "nearly the same embedding" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("signed,unit", "signed and unit contradict each other. Leave one."),
        ("bgr,rgb", "bgr and rgb contradict each other"),
        ("signe", "'signe' is none of rgb, bgr, raw, signed, unit. Did you mean 'signed'?"),
    ],
)
def test_words_that_say_nothing_clear_are_refused(words, said, faces, plain, tmp_path, capsys):
    code, told, _ = run(capsys, "--model", f"{plain}@{words}", "--faces", faces, "--out", tmp_path / "out")
    assert code == 2
    assert said in told


def test_words_behind_a_model_of_our_own_are_refused(faces, plain, tmp_path, capsys):
    wrap_recogniser(plain, tmp_path / "own.onnx", Foreign("MIT", "bytes"))
    code, told, _ = run(capsys, "--model", f"{tmp_path / 'own.onnx'}@bgr", "--faces", faces, "--out", tmp_path / "out")
    assert code == 2
    assert "knows how it wants its pixels. Leave @bgr out." in told


def test_odd_names_of_models_are_taken_and_shown(faces, plain, tmp_path, capsys):
    (tmp_path / "me@home").mkdir()
    names = [tmp_path / "me@home" / "a|b<i>.onnx", tmp_path / os.fsdecode(b"\xff.onnx")]
    for name in names:
        shutil.copy(plain, name)
    words = [word for name in names for word in ("--model", f"{name}@bgr")]
    code, _, shown = run(capsys, *words, *words[:2], "--faces", faces, "--out", tmp_path / "out")
    assert code == 0
    found = json.loads((tmp_path / "out" / "covered.json").read_text())
    assert list(found["models"]) == [f"{name}@bgr" for name in names]
    assert (tmp_path / "out" / "covered.md").read_text().rstrip() == shown.partition(f"\n{tmp_path}")[0].rstrip()
    assert "\\xff.onnx@bgr on faces" in shown
    assert "a|b&lt;i&gt;.onnx" in (tmp_path / "out" / "covered.html").read_text()


def test_a_kind_of_cut_outs_with_a_bar_in_its_name_keeps_the_table_whole(faces, plain, tmp_path, capsys):
    (tmp_path / "cutouts" / "маска|вуаль").mkdir(parents=True)
    Image.new("RGBA", (40, 20), (9, 9, 9, 255)).save(tmp_path / "cutouts" / "маска|вуаль" / "0.png")
    words = ("--model", plain, "--faces", faces, "--occluders", tmp_path / "cutouts", "--out", tmp_path / "out")
    code, _, shown = run(capsys, *words)
    assert code == 0
    assert r"| маска\|вуаль, cut-outs |" in shown


def test_a_kind_that_is_spelled_otherwise_is_told_its_place(tmp_path, caplog):
    (tmp_path / "Mask").mkdir()
    Image.new("RGBA", (40, 20), (9, 9, 9, 255)).save(tmp_path / "Mask" / "0.png")
    with caplog.at_level(logging.WARNING):
        open_cutouts(tmp_path)
    assert "Mask lies anywhere on the face" in caplog.text
    assert "Did you mean 'mask'?" in caplog.text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--impostors", "-5"), "--impostors -5 is no number of pairs"),
        (("--impostors", "3"), "faces has 3 impostor pairs; FAR 0.1 needs 10 impostor pairs. Give --impostors 10"),
        (("--out", "{file}"), "is a file. Name a folder that can be written."),
        (("--out", "{file}/below"), "is a file. Name a folder that can be written."),
    ],
)
def test_what_cannot_go_well_is_told_before_models_work(changed, said, faces, plain, tmp_path, capsys):
    (tmp_path / "file").touch()
    option, value = changed[0], changed[1].format(file=tmp_path / "file")
    words = {"--model": plain, "--faces": faces, "--out": tmp_path / "out"} | {option: value}
    code, told, _ = run(capsys, *(part for pair in words.items() for part in pair))
    assert code in (1, 2)
    assert said in told
    assert "conditions in" not in told
    assert "traceback" not in told
