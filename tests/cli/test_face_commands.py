"""`oaml match` and `oaml identify` as somebody types them: which model answers, what is printed, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from untrained import write_exported_untrained

from oaml_core.cli import main
from oaml_core.config import Config, ModelConfig
from oaml_core.stages.production import point_at
from oaml_core.store import open_store

CONFIG = Config(model=ModelConfig(arch="ir_mini", width=4))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn faces, a checkpoint, and a store whose model in production is that one exported."""
    folder = tmp_path_factory.mktemp("faces")
    write_exported_untrained(CONFIG, folder)
    store = open_store(str(folder / "store"))
    for name in ("model.onnx", "model.matcher.onnx"):
        store.put_file(folder / name, f"runs/one/{name}")
    point_at(store, {"version": "one", "model_uri": store.url("runs/one/model.onnx"), "metrics_uri": ""})
    return folder


def run(place: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--work_dir", str(place / "work")])
    return int(ended.value.code or 0)


def test_model_in_production_checkpoint_and_onnx_say_the_same(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pair.png"
    faces = str(place / "a.png"), str(place / "b.png")
    said = []
    for model in ("--store=store", "--checkpoint=best.ckpt", "--onnx=model.onnx"):
        option, _, name = model.partition("=")
        assert run(place, "match", *faces, option, str(place / name), "--out", str(out)) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == str(out)
        assert out.is_file()
        out.unlink()
        said.append(lines[0])
    assert said[0].startswith("global 0.")
    assert said[0] == said[1] == said[2]


def test_identify_prints_the_ranking_and_where_the_picture_is(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = tmp_path / "gallery" / "ann"
    gallery.mkdir(parents=True)
    (gallery / "1.png").write_bytes((place / "b.png").read_bytes())
    out = str(tmp_path / "found.jpg")
    words = [str(place / "a.png"), "--gallery", str(gallery.parent), "--store", str(place / "store"), "--out", out]
    assert run(place, "identify", *words) == 0
    said = capsys.readouterr().out
    assert said.startswith("nearest is ann; no decision")
    assert said.endswith(f"{out}\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--checkpoint", "best.ckpt", "--onnx", "model.onnx"], 2, "one model"),
        (["--store", "empty"], 2, "no model in production"),
        (["--checkpoint", "best.ckpt", "--out", "pair.txt"], 2, "pair.txt"),
        (["--checkpoint", "best.ckpt", "--far", "2"], 2, "--far 2"),
        (["--checkpoint", "a.png"], 1, "a.png cannot be read"),
        (["--checkpoint", "best.ckpt", "--metrics", "none.json"], 1, "none.json"),
        (["--checkpoint", "best.ckpt", "--metrics", "a.png"], 1, "not a metrics.json"),
        (["--onnx", "none.onnx"], 1, "none.onnx does not exist"),
    ],
)
def test_what_cannot_be_done_is_named(
    place: Path,
    words: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    assert run(place, "match", "a.png", "b.png", *words) == code
    assert message in capsys.readouterr().err
    assert not (place / "match.png").exists()
