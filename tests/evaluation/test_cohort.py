"""Cohort normalisation: one threshold for faces whose scores with strangers lie elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from oaml_core.cli import main
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.covered.cohort import Spread, normalise, open_cohort, refuse_known_faces
from oaml_core.evaluation.covered.faces import open_faces
from tests.evaluation.test_covered import PEOPLE, SIZE, person, recogniser


def test_faces_whose_scores_with_strangers_are_higher_keep_the_false_accept_rate():
    """Whatever shifts and stretches all scores of a face, as cover does, is taken out of its scores."""
    generator = np.random.default_rng(0)
    faces, strangers, pairs = 400, 200, 40_000
    shift, stretch = np.full(faces, 1.5), np.full(faces, 1.4)
    probe = Spread.of(generator.normal(size=(faces, strangers)))
    plain = Spread.of(generator.normal(size=(faces, strangers)))
    covered = Spread.of(shift[:, None] + stretch[:, None] * generator.normal(size=(faces, strangers)))
    first, second = generator.integers(faces, size=(2, pairs))
    uncovered = generator.normal(size=pairs)
    inflated = shift[second] + stretch[second] * generator.normal(size=pairs)
    raw = np.mean(inflated > np.quantile(uncovered, 0.999))
    threshold = np.quantile(normalise(uncovered, probe, plain, first, second), 0.999)
    kept = np.mean(normalise(inflated, probe, covered, first, second) > threshold)
    assert raw > 0.05
    assert kept < raw / 4


def test_only_the_most_similar_strangers_count():
    near = np.array([[5.0, 4.0, 3.0, -9.0, -9.0]])
    assert Spread.of(near, nearest=3).mean == pytest.approx([4.0])
    assert Spread.of(near, nearest=50).mean == pytest.approx([-1.2])
    assert Spread.of(np.ones((2, 4))).deviation.tolist() == [1.0, 1.0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    generator = np.random.default_rng(1)
    for name, first, people in (("faces", 0, PEOPLE), ("strangers", 500, 30)):
        for number in range(people):
            folder = root / name / f"person{number:03d}"
            folder.mkdir(parents=True)
            for k in range(3):
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


def test_the_benchmark_reports_the_normalised_score(folders, tmp_path):
    code, written = run(folders, folders / "strangers", tmp_path)
    assert code == 0
    (sets,) = json.loads(written.read_text())["models"].values()
    conditions = sets["faces"]["conditions"]
    assert [list(scores) for scores in conditions.values()] == [["global", "cohort"]] * 2
    assert conditions["clean"]["cohort"]["real_far"] == pytest.approx(0.01, abs=1e-3)
    assert conditions["clean"]["cohort"]["tar"] > 0.5


def test_a_cohort_of_the_measured_faces_is_refused(folders, tmp_path, capsys):
    code, _ = run(folders, folders / "faces", tmp_path)
    assert code != 0
    assert "are in the cohort too" in capsys.readouterr().err


def test_half_of_a_cohort_is_covered_and_the_same_each_time(folders):
    one, other = open_cohort(folders / "strangers", SIZE, 40), open_cohort(folders / "strangers", SIZE, 40)
    assert (one == other).all()
    # The drawn people's pictures are 4 × 4 flat patches; cover breaks them.
    patches = one.reshape(40, 4, 28, 4, 28, 3)
    flat = (patches == patches[:, :, :1, :, :1]).all(axis=(1, 2, 3, 4, 5))
    assert flat[::2].all()
    assert not flat[1::2].any()
    with pytest.raises(EvaluationError, match="are in the cohort too"):
        refuse_known_faces(one, [open_faces(folders / "strangers")])
