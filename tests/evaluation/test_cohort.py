"""The benchmark's cohort: scores in deviations of what both faces score with strangers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from oaml_core.cli import main
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.covered.cohort import open_cohort, refuse_known_faces
from oaml_core.evaluation.covered.faces import open_faces
from oaml_core.inference.strangers import FEWEST
from tests.evaluation.test_covered import PEOPLE, SIZE, person, recogniser


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    generator = np.random.default_rng(1)
    for name, first, people, each in (("faces", 0, PEOPLE, 3), ("strangers", 500, FEWEST, 1), ("few", 2000, 9, 1)):
        for number in range(people):
            folder = root / name / f"person{number:03d}"
            folder.mkdir(parents=True)
            for k in range(each):
                colours = np.clip(person(first + number) + generator.normal(0, 22, (4, 4, 3)), 0, 255)
                image = colours.astype(np.uint8).repeat(28, axis=0).repeat(28, axis=1)
                Image.fromarray(image).save(folder / f"{k}.png")
    return root


def run(folders, cohort, out):
    model = recogniser(out / "plain.onnx", [0, 1, 2])
    words = ["--faces", folders / "faces", "--drawn", "surgical", "--far", "0.01", "--cohort", cohort]
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "covered", "--model", str(model), *map(str, words), "--out", str(out / "out")])
    return ended.value.code, out / "out" / "covered.json"


def test_the_benchmark_reports_the_measured_score(folders, tmp_path):
    code, written = run(folders, folders / "strangers", tmp_path)
    assert code == 0
    (sets,) = json.loads(written.read_text())["models"].values()
    conditions = sets["faces"]["conditions"]
    assert [list(scores) for scores in conditions.values()] == [["global", "cohort"]] * 2
    assert conditions["clean"]["cohort"]["real_far"] == pytest.approx(0.01, abs=1e-3)
    assert conditions["clean"]["cohort"]["tar"] > 0.5
    page = written.with_suffix(".html").read_text()
    assert '<i class="key cohort"></i>cohort' in page, "every score that was measured is drawn"
    assert "--cohort:" in page
    (covered,) = (scores for name, scores in conditions.items() if name != "clean")
    assert abs(covered["cohort"]["real_far"] - 0.01) <= abs(covered["global"]["real_far"] - 0.01)


@pytest.mark.parametrize(
    ("cohort", "message"), [("faces", "are in the cohort too"), ("few", f"a cohort takes at least {FEWEST}")]
)
def test_a_cohort_that_cannot_serve_is_refused(folders, tmp_path, capsys, monkeypatch, cohort, message):
    if cohort == "faces":
        monkeypatch.setattr("oaml_core.evaluation.covered.cohort.FEWEST", 2)
    code, _ = run(folders, folders / cohort, tmp_path)
    assert code != 0
    assert message in capsys.readouterr().err


def test_a_cohort_is_the_same_each_time(folders):
    one, other = open_cohort(folders / "strangers", SIZE), open_cohort(folders / "strangers", SIZE)
    assert one.shape == (FEWEST, SIZE, SIZE, 3)
    assert (one == other).all()
    with pytest.raises(EvaluationError, match="are in the cohort too"):
        refuse_known_faces(one, [replace(open_faces(folders / "faces"), images=other[:3])])
