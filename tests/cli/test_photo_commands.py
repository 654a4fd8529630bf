"""From photographs to an answer on the command line: with a published recogniser, and after a local run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import skimage.data
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from published_graph import write_published

from oaml_core.cli import main
from oaml_core.data.sources.sample_faces import write_sample_faces
from oaml_core.export.global_only import Foreign, wrap_recogniser
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.photos.faces import FaceFinder
from oaml_core.settings import load_config
from oaml_core.stages.added_model import find_record
from oaml_core.stages.local_runs import store_of_local_run
from oaml_core.stages.production import point_at
from oaml_core.store import open_store


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph as others publish them: float planes in, the means of an 8 × 8 grid out, not normalised."""
    unused = numpy_helper.from_array(np.zeros(1, np.float32), "unused")
    return write_published(tmp_path_factory.mktemp("model") / "published.onnx", [unused])


@pytest.fixture(scope="module")
def wants_bytes(tmp_path_factory: pytest.TempPathFactory, recogniser: Path) -> Path:
    """A recogniser for pixels of 0 to 255: beside its constant those of [-1, 1] count for nothing."""
    path = tmp_path_factory.mktemp("bytes") / "bytes.onnx"
    model = onnx.load(str(recogniser))
    model.graph.node[-1].output[0] = "flat"
    model.graph.node.append(helper.make_node("Add", ["flat", "constant"], ["fc1"]))
    model.graph.initializer.append(numpy_helper.from_array(np.full(1, 20, np.float32), "constant"))
    onnx.save(model, str(path))
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[str, str]:
    names = tmp_path / "one.jpg", tmp_path / "two.png"
    Image.fromarray(skimage.data.astronaut()).save(names[0], quality=92)
    Image.fromarray(skimage.data.astronaut()).rotate(8).resize((700, 700)).save(names[1])
    return str(names[0]), str(names[1])


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("pixels", "warned"), [("signed", True), ("unit", True), ("bytes", False)])
def test_pixels_of_a_range_that_the_network_does_not_see_are_noticed(
    wants_bytes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, pixels: str, warned: bool
) -> None:
    words = ("model", "add", str(wants_bytes), "--licence", "MIT", "--pixels", pixels, "--store", str(tmp_path / "s"))
    assert run(*words) == 0
    assert ("Use that" in caplog.text and "--pixels bytes" in caplog.text) == warned


def test_a_recogniser_that_sees_nothing_is_not_added_unless_its_range_is_named(
    wants_bytes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("model", "add", str(wants_bytes), "--licence", "MIT", "--store", str(tmp_path / "s"))
    assert run(*words) == 2
    told = capsys.readouterr().err
    assert "Nothing was added." in told
    assert "with --pixels bytes they differ" in told
    assert "--pixels signed adds it as it is." in told
    assert not (tmp_path / "s").exists()


def test_a_range_of_pixels_that_weights_do_not_take_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.pth").touch()
    words = ("model", "add", str(tmp_path / "weights.pth"), "--licence", "MIT", "--pixels", "bytes")
    assert run(*words) == 2
    assert "weights without a graph, which take signed pixels. Leave --pixels out." in capsys.readouterr().err


def test_recogniser_that_sees_its_pixels_is_taken_without_a_word(
    recogniser: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("model", "add", str(recogniser), "--licence", "MIT", "--store", str(tmp_path / "s")) == 0
    assert "--pixels" not in caplog.text


@pytest.mark.parametrize(("pixels", "order"), [("signed", "rgb"), ("unit", "bgr"), ("bytes", "rgb")])
def test_wrapped_recogniser_is_given_the_pixels_that_it_wants(
    recogniser: Path, tmp_path: Path, pixels: str, order: str
) -> None:
    wrap_recogniser(recogniser, tmp_path / "m.onnx", Foreign("MIT", pixels, order))  # type: ignore[arg-type]
    images = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    found = OamlOnnx(tmp_path / "m.onnx").embed(images)
    planes = images.astype(np.float64)[..., :: 1 if order == "rgb" else -1].transpose(0, 3, 1, 2)
    planes = {"signed": planes / 127.5 - 1, "unit": planes / 255, "bytes": planes}[pixels]
    expected = planes.reshape(2, 3, 8, 14, 8, 14).mean((3, 5)).reshape(2, -1)
    norm = np.linalg.norm(expected, axis=1, keepdims=True)
    assert found.norm == pytest.approx(norm, rel=1e-3)
    assert found.embedding == pytest.approx(expected / norm, abs=1e-4)
    assert np.all(found.visibility == 1)


def test_added_recogniser_answers_for_photographs_without_torch(
    recogniser: Path, photographs: tuple[str, str], tmp_path: Path
) -> None:
    store, out = str(tmp_path / "store"), str(tmp_path / "match.png")
    assert run("model", "add", str(recogniser), "--licence", "MIT, by somebody", "--store", store) == 0
    card = next((tmp_path / "store").rglob("MODEL_CARD.md")).read_text()
    assert "MIT, by somebody" in card
    words = ["match", *photographs, "--store", store, "--out", out, "--work_dir", str(tmp_path / "work")]
    program = (
        f"import sys\nfrom oaml_core.cli import main\ntry: main({words!r})\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("global 0.9")
    assert "no decision" in lines[0]
    assert lines[1].startswith(f"{photographs[0]}: found")
    assert "visible" not in lines[0], "it does not look at what is covered"
    assert all("what is covered is not known" in line and "visible" not in line for line in lines[1:3])
    assert lines[-2:] == [out, "False"]
    assert Image.open(out).height > 500


def test_identify_says_how_the_face_of_the_photograph_was_found(
    recogniser: Path, photographs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, gallery, out = str(tmp_path / "store"), tmp_path / "people", str(tmp_path / "identify.png")
    gallery.mkdir()
    (gallery / "her.jpg").write_bytes(Path(photographs[0]).read_bytes())
    run("model", "add", str(recogniser), "--licence", "MIT", "--store", store)
    words = ["--store", store, "--out", out, "--work_dir", str(tmp_path)]
    assert run("identify", photographs[1], "--gallery", str(gallery), *words) == 0
    said = capsys.readouterr().out
    assert f"{photographs[1]}: found (score" in said
    assert "what is covered is not known" in said
    assert "%" not in said


def test_square_photograph_of_nobody_gets_no_score(
    recogniser: Path, photographs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    run("model", "add", str(recogniser), "--licence", "MIT", "--store", store)
    grass = tmp_path / "grass.png"
    Image.fromarray(skimage.data.grass()).save(grass)
    assert run("match", photographs[0], str(grass), "--store", store, "--work_dir", str(tmp_path)) == 1
    assert "No face was found in" in capsys.readouterr().err


def test_adding_says_which_model_goes_on_answering(
    recogniser: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    words = ("model", "add", str(recogniser), "--licence", "MIT", "--store", str(store))
    assert run(*words) == 0
    assert "goes on answering" not in caplog.text
    point_at(open_store(str(store)), {"version": "tonight", "model_uri": "file:///m.onnx", "metrics_uri": ""})
    assert run(*words) == 0
    assert "tonight is in production and goes on answering; `--onnx file://" in caplog.text


def leave_local_run(work: Path, recogniser: Path, name: str, minute: int) -> None:
    """What a local run leaves in its store, promoted at a given minute."""
    left = work / ".oaml" / "s3" / "oaml" / name
    wrap_recogniser(recogniser, left / "runs" / "a-1" / "model.onnx", Foreign("MIT"))
    address = "/".join(part for part in ("s3://oaml", name, "runs/a-1/model.onnx") if part)
    point_at(open_store(str(left)), {"version": name or "old", "model_uri": address, "metrics_uri": ""})
    os.utime(left / "models" / "production.json", (60 * minute, 60 * minute))


def test_the_model_of_the_latest_local_run_answers_without_its_server(
    recogniser: Path, photographs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, minute, answers in (
        ("smoke", 9, "smoke"),  # nothing else is there
        ("", 1, "old"),  # where runs of earlier versions lie
        ("demo", 2, "demo"),
        ("demo-0123abcd", 3, "demo-0123abcd"),
        ("other", 2, "demo-0123abcd"),
    ):
        leave_local_run(tmp_path, recogniser, name, minute)
        found, config = find_record(load_config())
        assert found["version"] == answers, "the trial recipe's model answers only without others"
        assert Path(config.store).is_dir()
    assert run("match", *photographs) == 0
    assert (tmp_path / "match.png").is_file()
    assert run("match", *photographs, "--store", "elsewhere") == 2


def test_each_recipe_and_each_folder_of_faces_has_a_store_of_its_own(tmp_path: Path) -> None:
    recipes = [
        load_config(Path(__file__).parents[2] / "configs" / f"{name}.yaml", options)
        for name in ("demo", "smoke")
        for options in ([], ["--data.source", str(tmp_path)], ["--data.source", "s3://faces/a"])
    ]
    stores = [store_of_local_run(config) for config in recipes]
    assert len(set(stores)) == 6
    assert store_of_local_run(load_config(None, ["--data.source", f"{tmp_path}/../{tmp_path.name}"])) == (
        store_of_local_run(load_config(None, ["--data.source", str(tmp_path)]))
    )


def test_sample_faces_are_found_to_be_aligned(tmp_path: Path) -> None:
    folder = write_sample_faces(tmp_path / "faces")
    files = sorted(folder.rglob("*.png"))
    finder = FaceFinder()
    assert len(files) == 12
    assert all(finder.main_face(path).alignment is None for path in files)


def test_what_is_no_recogniser_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "x.onnx"
    text.write_text("nothing")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["data"], ["fc1"])],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 5])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 5])],
    )
    other = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, ir_version=8), str(other))
    for path, message in ((text, "not an ONNX model"), (other, "[N, S, S, 3] is needed"), (tmp_path / "no", "no file")):
        assert run("model", "add", str(path), "--licence", "MIT", "--store", str(tmp_path / "store")) != 0
        assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_graphs_for_one_face_and_with_leftover_inputs_are_taken(recogniser: Path, tmp_path: Path) -> None:
    """A graph whose shapes state a batch of 1, that calls its input as ours is called, and lists weights as inputs."""
    model = onnx.load(str(recogniser))
    graph = model.graph
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph.node.append(helper.make_node("Reshape", ["fc1", "to_row"], ["row"]))
    graph.node.append(helper.make_node("Add", ["row", "bias"], ["embedding_of_one"]))
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 192], np.int64), "to_row"),
            numpy_helper.from_array(np.full((1, 192), 0.5, np.float32), "bias"),
        ]
    )
    for node in graph.node:  # a name that ours has too
        node.input[:] = ["images" if name == "data" else name for name in node.input]
    graph.input[0].name = "images"
    for name, size in (("bias", [1, 192]), ("left_over", [3, 3]), ("row", [1, 192])):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding_of_one", TensorProto.FLOAT, [1, 192]))
    onnx.save(model, str(tmp_path / "one.onnx"))
    wrap_recogniser(tmp_path / "one.onnx", tmp_path / "m.onnx", Foreign("MIT", "unit"))
    wrapped = OamlOnnx(tmp_path / "m.onnx")
    images = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    expected = images.transpose(0, 3, 1, 2).astype(np.float64).reshape(3, 3, 8, 14, 8, 14).mean((3, 5)) / 255
    expected = expected.reshape(3, -1) + 0.5
    found = wrapped.embed(images)
    assert found.embedding.shape == (3, 192)
    assert found.embedding == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-4)
    assert len(wrapped.records(images).embedding) == 3


def test_weights_are_put_into_their_backbone_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    from oaml_core.models.build import build_backbone
    from oaml_core.models.pretrained import load_backbone

    torch.manual_seed(0)
    trained = build_backbone("ir_mini", width=4).eval()
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in trained.state_dict().items()}}, tmp_path / "w.ckpt"
    )
    store = str(tmp_path / "store")
    arch = ("--model.arch", "ir_mini", "--model.width", "4")
    words = ("model", "add", str(tmp_path / "w.ckpt"), "--licence", "MIT", "--channel_order", "bgr", "--store", store)
    assert run(*words, "--model.arch", "ir_18") == 1
    assert "w.ckpt is not of this backbone" in capsys.readouterr().err
    assert run(*words, *arch) == 0
    wrapped = OamlOnnx(next((tmp_path / "store").rglob("model.onnx")))
    images = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    load_backbone(trained, tmp_path / "w.ckpt", channel_order="bgr")
    with torch.no_grad():
        expected = trained(torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1))
    found = wrapped.embed(images)
    assert found.embedding == pytest.approx(expected.embedding.numpy(), abs=1e-3)
    assert found.norm.ravel() == pytest.approx(expected.norm.numpy().ravel(), rel=1e-3)


def test_align_command_says_where_the_faces_are(
    photographs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    Path(photographs[0]).rename(folder / "one.jpg")
    assert run("align", str(folder), str(tmp_path / "out")) == 0
    assert capsys.readouterr().out.startswith("1 face aligned, 0 photographs rejected")
    assert json.loads((tmp_path / "out" / ".notes" / "one.jpg.json").read_text())["reason"] == ""
