"""Lists of templates that do not fit, are cut otherwise or repeat themselves."""

from __future__ import annotations

import shutil

import pytest
from template_data import Describer, Sleeper, edited, lists_of

from oaml_core.errors import DataError, EvaluationError
from oaml_core.evaluation.templates.benchmark import run_templates
from oaml_core.evaluation.templates.lists import read_lists

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


def with_pairs(ijb, tmp_path, lines):
    more = [f"{a} {b} {same}\n" for a, b, same in lines]
    return with_lists(
        ijb, tmp_path, lambda meta: edited(lists_of(meta, "template_pair_label.txt"), lambda listed: [*listed, *more])
    )


def test_pairs_that_are_listed_again_count_as_listed_and_are_told(ijb, tmp_path):
    first, second, same = ijb.pairs[4]
    figures = with_pairs(ijb, tmp_path, [(second, first, same), ijb.pairs[0]])
    assert figures.pairs.genuine + figures.pairs.impostors == len(ijb.pairs) + 2
    assert f"2 pairs listed again, the first is {second} {first}: each counts as listed" in figures.notes


def test_a_pair_of_templates_is_not_genuine_and_impostor(ijb, tmp_path):
    first, second, same = ijb.pairs[4]
    with pytest.raises(DataError, match=f"the pair {first} {second} once as one person and once as two"):
        with_pairs(ijb, tmp_path, [(second, first, 1 - same)])
