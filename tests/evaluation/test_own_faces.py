"""`oaml evaluate` on one's own faces: a folder of identities, and pair lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from untrained import write_untrained

from oaml_core.cli import main
from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.decoding.decode import encode_jpeg

PEOPLE, EACH = 6, 3


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces, one folder per identity, a pair list beside them, and a model."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    which = np.repeat(np.arange(PEOPLE), EACH)
    drawn = draw_faces(draw_identities(PEOPLE, generator), which, generator)
    for number, (person, image) in enumerate(zip(which, drawn.images, strict=True)):
        path = folder / "faces" / f"person-{person}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(image))
    (folder / "faces" / "person-0" / "broken.jpg").write_bytes(b"\xff\xd8\xff cut off")
    rows = ["first,second,same"]
    for k in range(10):
        a, b, other = k % PEOPLE, (k + 1) % PEOPLE, 1 + k // PEOPLE
        rows.append(f"person-{a}/{EACH * a}.jpg,person-{a}/{EACH * a + other}.jpg,1")
        rows.append(f"person-{a}/{EACH * a}.jpg,person-{b}/{EACH * b + other}.jpg,0")
    (folder / "faces" / "mine_pairs.csv").write_text("\n".join(rows) + "\n")
    write_untrained(Config(model=ModelConfig(arch="ir_mini", width=4)), folder / "best.ckpt")
    return folder


def run(own: Path, work: Path, *words: str) -> int:
    options = ["--checkpoint", str(own / "best.ckpt"), "--work_dir", str(work), "--evaluate.far", "[0.1]"]
    options += ["--evaluate.occluders", "[veil]", "--evaluate.block_shares", "[]", "--evaluate.sides", "[second]"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *words, *options])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("option", ["--data", "--faces"])
def test_a_folder_of_identities(own: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(own, tmp_path, option, str(own / "faces")) == 0
    said = capsys.readouterr().out
    assert f"{PEOPLE * EACH} images of {PEOPLE} identities: 18 genuine and 135 impostor pairs" in said
    assert "person-0/broken.jpg: damaged JPEG" in said
    assert "mine: 20 pairs" in said
    (folder,) = (tmp_path / "own").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["folder"]["scores"]["combined"]["genuine"] == 18
    assert np.load(folder / "similarity.npz")["global"].shape == (18, 18)
    pairs = json.loads((folder / "pairs" / "metrics.json").read_text())["sets"]["mine"]
    assert pairs["identities"] == {"count": PEOPLE, "source": "given"}
    for name in ("report.html", "scores.npz", "summary.txt"):
        assert str(folder / "pairs" / name) in said


def test_a_pair_list_too_short_for_any_rate_is_judged_all_the_same(own: Path, tmp_path: Path) -> None:
    lines = (own / "faces" / "mine_pairs.csv").read_text().splitlines()
    (own / "faces" / "few_pairs.csv").write_text("\n".join(lines[:7]) + "\n")
    assert run(own, tmp_path, "--faces", str(own / "faces" / "few_pairs.csv")) == 0
    (found,) = (tmp_path / "own").glob("few_pairs-*/metrics.json")
    clean = json.loads(found.read_text())["sets"]["few"]["conditions"]["clean"]["scores"]["global"]
    assert [point["measurable"] for point in clean["tar_at_far"]] == [False]
    assert 0 <= clean["accuracy"] <= 1


def test_a_pair_list_alone(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(own, tmp_path, "--faces", str(own / "faces" / "mine_pairs.csv")) == 0
    said = capsys.readouterr().out
    assert "mine: 20 pairs" in said
    assert "genuine and" not in said
    assert list((tmp_path / "own").glob("mine_pairs-*/report.html"))


def test_a_folder_without_faces_is_named(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(own, tmp_path, "--data", str(tmp_path / "empty")) == 1
    assert "holds neither one folder per identity nor a pair list" in capsys.readouterr().err


def test_data_still_takes_a_file_of_configuration_keys(own: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    keys.write_text("image_size: 113\n")
    assert run(own, tmp_path, "--data", str(keys), "--faces", str(own / "faces")) == 2
