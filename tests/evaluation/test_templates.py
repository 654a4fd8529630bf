"""`oaml benchmark templates`: IJB-B and IJB-C as distributed, against a plain reading of the published protocol."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_onnx import recogniser
from template_data import SUBJECTS, Describer

from oaml_core.cli import main
from oaml_core.errors import DataError, EvaluationError
from oaml_core.evaluation.statistics.roc import roc
from oaml_core.evaluation.templates import lists as lists_module
from oaml_core.evaluation.templates import pooling
from oaml_core.evaluation.templates.benchmark import FARS, FPIRS, run_templates
from oaml_core.evaluation.templates.lists import read_lists, read_pairs
from oaml_core.evaluation.templates.protocols import nearest_tar, search_open, search_published

E_DIM = 16


def plain_templates(ijb, model):
    """The published pooling, word by word: a medium's mean, the media's sum, unit length."""
    scores = [float(line.split()[-1]) for line in (ijb.folder / "meta/ijbc_name_5pts_score.txt").open()]
    features = {}
    for (name, template, medium), score in zip(ijb.rows, scores, strict=True):
        face = np.asarray(Image.open(ijb.folder / "loose_crop" / name).crop((9, 17, 121, 129)))[None]
        record = model.records(face)
        features.setdefault(template, {}).setdefault(medium, []).append(record.embedding[0] * record.norm[0] * score)
    sums = {one: np.sum([np.mean(each, axis=0) for each in media.values()], axis=0) for one, media in features.items()}
    return {one: total / np.linalg.norm(total) for one, total in sums.items()}


def plain_nearest(scores, truth, rate):
    """TAR where FAR is nearest, on the curve without the inner points of straight lines; of equal ones the loosest."""
    counts = [[((scores >= t) & kind).sum() for kind in (~truth, truth)] for t in sorted(set(scores), reverse=True)]
    kept = [[0, 0]]
    for k, point in enumerate(counts):
        ends = k in (0, len(counts) - 1)
        straight = not ends and all(counts[k - 1][i] + counts[k + 1][i] == 2 * point[i] for i in (0, 1))
        kept += [] if straight else [point]
    return min((abs(f / (~truth).sum() - rate), -t / truth.sum()) for f, t in kept)[1] * -1


def test_pairs_and_searches_are_those_of_the_published_protocol(ijb):
    model = Describer()
    found = run_templates(model, read_lists(ijb.folder))
    plain = plain_templates(ijb, model)
    scores = np.array([plain[a] @ plain[b] for a, b, _ in ijb.pairs])
    truth = np.array([same == 1 for *_, same in ijb.pairs])
    assert found.pairs.genuine == truth.sum()
    assert found.pairs.impostors == (~truth).sum()
    for far in (1e-2, 1e-1):
        assert found.pairs.published[far] == pytest.approx(plain_nearest(scores, truth, far), abs=1e-9)
    assert found.pairs.exact[1e-6] is None
    assert 0.3 < found.pairs.published[1e-2] < 1  # the faces can be told apart, and not perfectly

    probes = [one for one, s in ijb.subject_of.items() if one != 10_000 - 170 * (s - 500)]
    gallery = [10_000 - 170 * s for s in range(SUBJECTS)]
    similarity = np.array([[plain[p] @ plain[g] for g in gallery] for p in probes])
    own = np.array([ijb.subject_of[p] - 500 for p in probes])
    hits = similarity.argmax(1) == own
    assert found.published.rank[1] == pytest.approx(hits.mean())
    others = np.sort(np.delete(similarity.ravel(), np.arange(len(probes)) * SUBJECTS + own))[::-1]
    mates = similarity[np.arange(len(probes)), own]
    for fpir in FPIRS:
        bound = others[int(np.ceil(fpir * len(probes))) - 1]
        assert found.published.tpir[fpir] == pytest.approx((mates > bound).mean())

    first = similarity[:, :6]
    strangers = np.sort(first[own >= 6].max(1))[::-1]
    mated = own < 6
    passes = (first.argmax(1) == own) & (first.max(1) > strangers[1])  # 0.1 of 18 strangers: one may pass
    assert found.open_set["G1"].tpir[0.1] == pytest.approx(passes[mated].mean())
    assert found.open_set["G1"].tpir[0.01] is None  # 18 strangers cannot measure it
    assert found.open_set["mean"].rank[1] == pytest.approx(
        (found.open_set["G1"].rank[1] + found.open_set["G2"].rank[1]) / 2
    )


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_templates_do_not_depend_on_how_images_are_read(ijb, monkeypatch, batch):
    lists = read_lists(ijb.folder)
    whole = pooling.pool(lists, pooling.describe(Describer(), lists))
    monkeypatch.setattr(pooling, "BATCH", batch)
    np.testing.assert_allclose(pooling.pool(lists, pooling.describe(Describer(), lists)), whole, atol=1e-6)


def test_memory_is_that_of_the_pairs_and_not_of_the_images(tmp_path, monkeypatch):
    """60,000 pairs as text: rows, truth and scores are kept, never a Python number per pair."""
    monkeypatch.setattr(lists_module, "LINES_AT_ONCE", 5_000)
    file = tmp_path / "x_template_pair_label.txt"
    generator = np.random.default_rng(1)
    first, further = generator.integers(1, 3001, 60_000), generator.integers(0, 2999, 60_000)
    block = np.stack([first, (first + further) % 3000 + 1, generator.integers(0, 2, 60_000)], axis=1)
    file.write_text("\n".join(f"{a} {b} {c}" for a, b, c in block.tolist()))
    tracemalloc.start()
    try:
        parts = list(read_pairs(file, np.arange(1, 3001)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    first = np.concatenate([part[0] for part in parts])
    assert (first == block[:, 0] - 1).all()
    assert peak < 60_000 * 40


@pytest.mark.parametrize("seed", range(4))
def test_nearest_rate_is_read_off_the_published_curve(seed):
    generator = np.random.default_rng(seed)
    truth = generator.random(400) < 0.3
    scores = (generator.normal(truth * 1.5, 1)).round(1)  # with ties
    curve = roc(scores, truth)
    points = {(f, t) for f, t in zip(curve.far, curve.tar, strict=True)}
    for rate, tar in zip(FARS, nearest_tar(curve, FARS), strict=True):
        assert any(t == tar for _, t in points)
        nearest = min(abs(f - rate) for f, _ in points)
        assert nearest <= min(abs(f - rate) for f, t in points if t == tar) + 0.02


def test_a_search_needs_each_subject_once_and_somebody_who_is_enrolled():
    faces = np.eye(3, dtype=np.float32)
    with pytest.raises(EvaluationError, match="twice or not at all"):
        search_published(faces, np.array([1, 2, 9]), faces, np.array([1, 2, 3]))
    with pytest.raises(EvaluationError, match="twice or not at all"):
        search_published(faces, np.array([1, 2, 3]), faces, np.array([1, 2, 2]))
    with pytest.raises(EvaluationError, match="two data sets"):
        search_open(faces, np.array([7, 8, 9]), faces, np.array([1, 2, 3]))


def test_aligned_faces_without_points_count_alike(ijb, tmp_path):
    lists = read_lists(ijb.folder)
    for name in lists.names:
        Image.open(lists.images / name).crop((9, 17, 121, 129)).save(tmp_path / name)
    for file in (ijb.folder / "meta").iterdir():
        if "5pts" not in file.name and "1N" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    found = run_templates(Describer(), read_lists(tmp_path))
    assert not found.aligned_here
    assert "no detector's scores" in found.notes[0]
    assert found.published is None
    assert found.pairs.published[0.1] > 0.3


def as_of_nist(ijb, folder):
    """A folder with NIST's pairs, which have no labels, in place of the labelled ones."""
    copy = folder / "IJBC"
    shutil.copytree(ijb.folder, copy)
    (copy / "meta" / "ijbc_template_pair_label.txt").unlink()
    matches = copy / "meta" / "ijbc_11_G1_G2_matches.csv"
    matches.write_text("".join(f"{a},{b}\n" for a, b, _ in ijb.pairs))
    return copy, matches


def test_pairs_of_nist_are_labelled_by_the_subjects(ijb, tmp_path):
    copy, _ = as_of_nist(ijb, tmp_path)
    found = run_templates(Describer(), read_lists(copy))
    assert found.pairs == run_templates(Describer(), read_lists(ijb.folder)).pairs


def test_pairs_of_nist_that_nobody_is_named_for_are_refused(ijb, tmp_path):
    copy, matches = as_of_nist(ijb, tmp_path)
    (copy / "meta" / "ijbc_1N_probe_mixed.csv").unlink()
    with pytest.raises(DataError, match=r"names the pair \d+, \d+.*copy the galleries and the probes"):
        run_templates(Describer(), read_lists(copy))
    matches.with_name("ijbc_11_covariate_matches.csv").write_text("1,2\n")
    with pytest.raises(DataError, match="several lists of pairs"):
        read_lists(copy)


def test_the_command_writes_tables_of_every_model(ijb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models = [recogniser(tmp_path / f"{name}.onnx", [0, 1, 2]) for name in ("one", "two")]
    words = [word for path in models for word in ("--model", f"{Path(path).name}@bgr,signed")]
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "templates", *words, "--faces", str(ijb.folder)])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "TPIR at FPIR 0.01" in shown
    written = json.loads((tmp_path / "templates/templates.json").read_text())
    assert len(written) == 2
    assert set(next(iter(written.values()))["open_set"]) == {"G1", "G2", "mean"}
    assert "| mean |" in (tmp_path / "templates/templates.md").read_text()
