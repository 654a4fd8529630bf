"""`oaml benchmark templates`: IJB-B and IJB-C as distributed, against a plain reading of the published protocol."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from plain_onnx import recogniser

from oaml_core.cli import main
from oaml_core.errors import DataError, EvaluationError
from oaml_core.evaluation.statistics.roc import roc
from oaml_core.evaluation.templates import lists as lists_module
from oaml_core.evaluation.templates import pooling
from oaml_core.evaluation.templates.benchmark import FARS, FPIRS, run_templates
from oaml_core.evaluation.templates.lists import read_lists, read_pairs
from oaml_core.evaluation.templates.protocols import nearest_tar, search_open, search_published
from oaml_core.inference.records import FaceRecords
from oaml_core.photos.alignment import TEMPLATE

SUBJECTS, PROBES_EACH = 12, 3
E_DIM = 16


class Describer:
    """Embeddings by an image's mean colours: no network, and every image another one."""

    image_size = 112

    def records(self, images):
        small = images.reshape(len(images), 4, 28, 4, 28, 3).mean((2, 4, 5)).reshape(len(images), 16)
        raw = (small - 127.5).astype(np.float32)
        norm = np.linalg.norm(raw, axis=1)
        return FaceRecords(raw / norm[:, None], np.ones((len(raw), 1, 1, 1)), np.zeros((len(raw), 0, 1, 1)), norm)


class Sleeper:
    """A model that is not asked: lists are judged first, as describing images takes hours."""

    image_size = 112

    def records(self, images):
        raise AssertionError("images are described before the lists were judged")


@pytest.fixture(scope="module")
def ijb(tmp_path_factory):
    """A data set as InsightFace packs IJB-C: a gallery template per subject in one of two galleries, three probes."""
    folder = tmp_path_factory.mktemp("IJBC")
    (folder / "meta").mkdir()
    (folder / "loose_crop").mkdir()
    generator = np.random.default_rng(5)
    rows, points, subject_of = [], [], {}
    number = 0
    for subject in range(SUBJECTS):
        look = generator.integers(40, 215, (4, 4, 3))
        for kind in range(1 + PROBES_EACH):
            template = 10_000 - 17 * (subject * 10 + kind)  # neither ascending nor without gaps
            subject_of[template] = subject + 500
            for medium, frames in enumerate(generator.integers(1, 4, 2)):
                for _ in range(frames):
                    number += 1
                    noisy = (look + generator.normal(0, 90, look.shape)).clip(0, 255).astype(np.uint8)
                    picture = Image.fromarray(noisy).resize((112, 112), Image.Resampling.NEAREST)
                    canvas = Image.new("RGB", (140, 150))
                    canvas.paste(picture, (9, 17))
                    canvas.save(folder / "loose_crop" / f"{number}.png")
                    rows.append((f"{number}.png", template, medium + 70 * subject))
                    at = " ".join(f"{x:.6f} {y:.6f}" for x, y in TEMPLATE + np.array([9, 17]))
                    points.append(f"{number}.png {at} {generator.uniform(0.3, 1):.6f}")
    order = generator.permutation(len(rows))
    meta = folder / "meta"
    (meta / "ijbc_face_tid_mid.txt").write_text("".join("{} {} {}\n".format(*rows[i]) for i in order))
    (meta / "ijbc_name_5pts_score.txt").write_text("".join(f"{points[i]}\n" for i in order))
    templates = sorted(subject_of)
    pairs = [(a, b, int(subject_of[a] == subject_of[b])) for i, a in enumerate(templates) for b in templates[i + 1 :]]
    (meta / "ijbc_template_pair_label.txt").write_text("".join(f"{a} {b} {same}\n" for a, b, same in pairs))
    for name, chosen in (("G1", range(6)), ("G2", range(6, SUBJECTS))):
        lines = [f"{10_000 - 170 * s},{s + 500},x.jpg,{row}" for s in chosen for row in range(2)]
        (meta / f"ijbc_1N_gallery_{name}.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME,X\n" + "\n".join(lines))
    probes = [f"{10_000 - 17 * (s * 10 + k)},{s + 500},x.jpg" for s in range(SUBJECTS) for k in range(1, 4)]
    (meta / "ijbc_1N_probe_mixed.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + "\n".join(probes) + "\n")
    return SimpleNamespace(folder=folder, rows=[rows[i] for i in order], pairs=pairs, subject_of=subject_of)


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
    whole = pooling.pool(Describer(), lists)
    monkeypatch.setattr(pooling, "BATCH", batch)
    np.testing.assert_allclose(pooling.pool(Describer(), lists), whole, atol=1e-6)


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


def edited(file, change):
    """Write what `change` makes of the lines of a list."""
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


def lists_of(meta, ending):
    return meta / f"ijbc_{ending}"


FAULTS = {
    "no lists": (lambda meta: (meta / "ijbc_face_tid_mid.txt").unlink(), "no list"),
    "image lacks its template": (
        lambda meta: (meta / "ijbc_face_tid_mid.txt").write_text("1.png 3\n"),
        "line 1 has 2 fields, 3 are expected",
    ),
    "template is a name": (
        lambda meta: (meta / "ijbc_face_tid_mid.txt").write_text("1.png anna 4\n"),
        "line 1: template and medium must be whole numbers",
    ),
    "image is missing": (lambda meta: (meta.parent / "loose_crop/5.png").unlink(), "lacks 1 of .*5.png"),
    "points of another list": (
        lambda meta: (meta / "ijbc_name_5pts_score.txt").write_text("x.png " + "1 " * 11 + "\n"),
        "line 1 is of x.png, but the list of templates has",
    ),
    "points are cut off": (
        lambda meta: (meta / "ijbc_name_5pts_score.txt").write_text(
            "".join((meta / "ijbc_name_5pts_score.txt").open().readlines()[:5])
        ),
        "ends after 5 of",
    ),
    "pairs of another set": (
        lambda meta: (meta / "ijbc_template_pair_label.txt").write_text("1 2 0\n"),
        "names template 1, which has no image",
    ),
    "label is 2": (
        lambda meta: (meta / "ijbc_template_pair_label.txt").write_text("10000 9983 2\n"),
        "two templates and 1 or 0",
    ),
    "pairs are words": (lambda meta: (meta / "ijbc_template_pair_label.txt").write_text("a b c\n"), "after line 0"),
    "gallery has two subjects": (
        lambda meta: (meta / "ijbc_1N_gallery_G1.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n10000,1\n10000,2\n"),
        "line 3: template 10000 has two subjects",
    ),
    "all names in capitals": (
        lambda meta: [
            edited(lists_of(meta, ending), lambda lines: [line.replace(".png", ".PNG") for line in lines])
            for ending in ("face_tid_mid.txt", "name_5pts_score.txt")
        ],
        r"png is there: write names as the files have them",
    ),
    "first image is missing": (
        lambda meta: (meta.parent / "loose_crop" / lists_of(meta, "face_tid_mid.txt").read_text().split()[0]).unlink(),
        "lacks 1 of",
    ),
    "template with itself": (
        lambda meta: lists_of(meta, "template_pair_label.txt").write_text("10000 10000 1\n"),
        "compares template 10000 with itself, line 1",
    ),
    "a score below 0": (
        lambda meta: edited(
            lists_of(meta, "name_5pts_score.txt"),
            lambda lines: [
                line.rpartition(" ")[0] + " -0.5\n" if not place else line for place, line in enumerate(lines)
            ],
        ),
        "a score below 0",
    ),
    "only scores of 0": (
        lambda meta: edited(
            lists_of(meta, "name_5pts_score.txt"), lambda lines: [line.rpartition(" ")[0] + " 0\n" for line in lines]
        ),
        "all images of template .* the score 0",
    ),
    "a gallery twice": (
        lambda meta: (meta.parent / "ijbc_1n_gallery_g1.csv").write_bytes(
            lists_of(meta, "1N_gallery_G1.csv").read_bytes()
        ),
        "are lists of one name",
    ),
    "another encoding": (
        lambda meta: lists_of(meta, "template_pair_label.txt").write_text("10000 9983 1\n", encoding="utf-16"),
        "UTF-8",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lists_that_do_not_fit_are_refused_by_file_and_line(ijb, tmp_path, fault):
    damage, message = FAULTS[fault]
    copy = tmp_path / "IJBC"
    (copy / "meta").mkdir(parents=True)
    (copy / "loose_crop").mkdir()
    for file in ijb.folder.glob("*/*"):
        (copy / file.parent.name / file.name).hardlink_to(file)
    for file in (copy / "meta").iterdir():  # what is changed must not be the fixture's
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    damage(copy / "meta")
    with pytest.raises(DataError, match=message):
        run_templates(Sleeper(), read_lists(copy))


def with_lists(ijb, tmp_path, change):
    """A copy of the data set whose lists were changed, and the figures from it."""
    folder = tmp_path / "IJBC"
    shutil.copytree(ijb.folder, folder)
    change(folder / "meta")
    return run_templates(Describer(), read_lists(folder))


@pytest.mark.parametrize("cut", [",", ";", "\t", ", "])
@pytest.mark.parametrize("headless", [False, True])
def test_lists_cut_otherwise_and_without_header_are_the_same(ijb, tmp_path, cut, headless):
    def change(meta):
        for file in meta.iterdir():
            rows = [line.replace(",", " ").split() for line in file.read_text().splitlines()]
            rows = rows[1:] if headless and file.suffix == ".csv" else rows
            file.write_text("".join(f"{cut.join(row)}\n" for row in rows))

    found, wanted = with_lists(ijb, tmp_path, change), run_templates(Describer(), read_lists(ijb.folder))
    assert (found.pairs, found.published, found.open_set) == (wanted.pairs, wanted.published, wanted.open_set)


def test_images_in_no_template_and_repeated_ones_are_told(ijb, tmp_path):
    def change(meta):
        (meta.parent / "loose_crop" / "extra.png").write_bytes((meta.parent / "loose_crop" / "1.png").read_bytes())
        for ending in ("face_tid_mid.txt", "name_5pts_score.txt"):
            edited(lists_of(meta, ending), lambda lines: [*lines, lines[0]])

    notes = with_lists(ijb, tmp_path, change).notes
    name, template, _ = ijb.rows[0]
    assert any(
        note.startswith(f"1 image is listed again in one template, the first is {name} in template {template}")
        for note in notes
    )
    assert "1 image is in no template: extra.png" in notes


@pytest.mark.parametrize("kind", ["0", "1"])
def test_pairs_of_one_kind_are_refused_before_any_image_is_read(ijb, tmp_path, kind):
    shutil.copytree(ijb.folder, tmp_path / "IJBC")
    pairs = lists_of(tmp_path / "IJBC" / "meta", "template_pair_label.txt")
    edited(pairs, lambda lines: [line for line in lines if line.rstrip().endswith(kind)])
    with pytest.raises(EvaluationError, match="rates need both kinds"):
        run_templates(Sleeper(), read_lists(tmp_path / "IJBC"))


def test_probes_of_nobody_are_refused_before_any_image_is_read(ijb, tmp_path):
    shutil.copytree(ijb.folder, tmp_path / "IJBC")
    probes = lists_of(tmp_path / "IJBC" / "meta", "1N_probe_mixed.csv")
    edited(probes, lambda lines: [lines[0], *(line.replace(",5", ",9") for line in lines[1:])])
    with pytest.raises(EvaluationError, match="two data sets"):
        run_templates(Sleeper(), read_lists(tmp_path / "IJBC"))


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


def with_pairs(ijb, tmp_path, lines):
    folder = tmp_path / "IJBC"
    shutil.copytree(ijb.folder, folder)
    listed = folder / "meta" / "ijbc_template_pair_label.txt"
    listed.write_text(listed.read_text() + "".join(f"{a} {b} {same}\n" for a, b, same in lines))
    return run_templates(Describer(), read_lists(folder))


def test_pairs_that_are_listed_again_count_as_listed_and_are_told(ijb, tmp_path):
    first, second, same = ijb.pairs[4]
    figures = with_pairs(ijb, tmp_path, [(second, first, same), ijb.pairs[0]])
    assert figures.pairs.genuine + figures.pairs.impostors == len(ijb.pairs) + 2
    assert f"2 pairs listed again, the first is {second} {first}: each counts as listed" in figures.notes


def test_a_pair_of_templates_is_not_genuine_and_impostor(ijb, tmp_path):
    first, second, same = ijb.pairs[4]
    with pytest.raises(DataError, match=f"the pair {first} {second} once as one person and once as two"):
        with_pairs(ijb, tmp_path, [(second, first, 1 - same)])
