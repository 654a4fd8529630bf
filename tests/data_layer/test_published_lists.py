"""Lists as they are published: LFW's pairs and people, subsets by position, pair lists of spreadsheets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oaml_core.data.check.checks import check_source
from oaml_core.data.check.report import CheckReport
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.inputs import open_folders, open_inputs
from oaml_core.data.sources.subset import find_subset
from oaml_core.data.sources.verification import find_verification, open_verification_source
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError
from tests.data_layer.conftest import face

PEOPLE = {"Ann_Bee": 3, "Cid_Dee": 3, "Eva_Fox": 2, "Gus_Hay": 2, "Ivy_Jay": 1}


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    """Five people in LFW's layout."""
    folder = tmp_path / "lfw"
    for person, (name, count) in enumerate(PEOPLE.items()):
        (folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / name / f"{name}_{number:04d}.jpg").write_bytes(encode_jpeg(face(10 * person + number)))
    return folder


PAIRS = ["Ann_Bee\t1\t2", "Cid_Dee\t1\t3", "Ann_Bee\t1\tCid_Dee\t2", "Cid_Dee\t3\tEva_Fox\t1"]


@pytest.mark.parametrize("header", ["2\t1\n", "2\n", ""])
@pytest.mark.parametrize("place", [".", "verification"])
def test_lfws_pairs_are_the_protocol(lfw: Path, config, header: str, place: str) -> None:
    (lfw / place).mkdir(exist_ok=True)
    (lfw / place / "pairs.txt").write_text(header + "\n".join(PAIRS) + "\n")
    folder = LocalFolder(lfw)
    found = find_verification(folder)
    assert list(found) == ["pairs"]
    pairs = open_verification_source(folder, "pairs", found["pairs"])
    assert pairs.issame.tolist() == [True, True, False, False]
    assert list(pairs.files[:2]) == ["Ann_Bee/Ann_Bee_0001.jpg", "Ann_Bee/Ann_Bee_0002.jpg"]
    assert next(iter(pairs.read_images())) == (lfw / "Ann_Bee" / "Ann_Bee_0001.jpg").read_bytes()
    opened = open_inputs(config(lfw), open_folders(config(lfw).data, lfw))
    left = {opened.training.name(number).split("/")[0] for number in opened.selected}
    assert left == {"Gus_Hay", "Ivy_Jay"}, "people of the pairs are not trained on"
    assert "held out" in opened.notes[0]


@pytest.mark.parametrize("line", ["Ann_Bee\t1\t9", "Nobody\t1\t2", "Ann_Bee\tone\t2", "Ann_Bee\t1", "a\tb\tc\td\te"])
def test_a_pair_that_is_none_is_named_by_its_line(lfw: Path, line: str) -> None:
    (lfw / "pairs.txt").write_text(f"1\t1\n{line}\n")
    with pytest.raises(DataError, match=r"pairs\.txt line 2"):
        open_verification_source(LocalFolder(lfw), "pairs", "pairs.txt")


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        ("pairs.txt", "2\t1\nAnn_Bee\t1\t2\nCid_Dee\t3\t3\n"),
        ("own_pairs.csv", "first,second,same\nAnn_Bee/Ann_Bee_0001.jpg,Ann_Bee/Ann_Bee_0002.jpg,1\n{0},./{0},1\n"),
    ],
)
def test_a_file_is_not_paired_with_itself(lfw: Path, file: str, lines: str) -> None:
    (lfw / file).write_text(lines.format("Cid_Dee/Cid_Dee_0003.jpg"))
    with pytest.raises(DataError, match=r"line 3 compares Cid_Dee/Cid_Dee_0003\.jpg with itself"):
        open_verification_source(LocalFolder(lfw), Path(file).stem.removesuffix("_pairs"), file)


AGAIN = {
    "pairs.txt": (
        "2\t2\nAnn_Bee\t1\t2\nAnn_Bee\t1\tCid_Dee\t2\nAnn_Bee\t2\t1\nCid_Dee\t2\tAnn_Bee\t1\nCid_Dee\t1\t3\n"
    ),
    "own_pairs.csv": (
        "first,second,same\n{a}1.jpg,{a}2.jpg,1\n{a}1.jpg,{c}2.jpg,0\n"
        "{a}2.jpg,./{a}1.jpg,1\n{c}2.jpg,{a}1.jpg,0\n{c}1.jpg,{c}3.jpg,1\n"
    ),
}
SHORT = {"a": "Ann_Bee/Ann_Bee_000", "c": "Cid_Dee/Cid_Dee_000"}


def told(report: CheckReport) -> str:
    """The report's table without the breaks of its lines."""
    return " ".join(report.table().split())


@pytest.mark.parametrize("file", AGAIN)
def test_a_pair_that_is_listed_again_counts_once(lfw: Path, config, file: str) -> None:
    (lfw / file).write_text(AGAIN[file].format(**SHORT))
    name = Path(file).stem.removesuffix("_pairs")
    pairs = open_verification_source(LocalFolder(lfw), name, file)
    assert pairs.issame.tolist() == [True, False, True]
    assert [Path(image).stem[-1] for image in pairs.files] == ["1", "2", "1", "2", "1", "3"]
    assert len(list(pairs.read_images())) == 6
    report = check_source(str(lfw), config(lfw))
    assert "lists 2 pairs again, the first on line 4 (as on line 2)" in told(report)


def test_landmarks_stay_with_their_images_where_a_pair_counts_once(lfw: Path) -> None:
    (lfw / "own_pairs.csv").write_text(AGAIN["own_pairs.csv"].format(**SHORT))
    listed = [["a1", "a2"], ["a1", "c2"], ["a2", "a1"], ["c2", "a1"], ["c1", "c3"]]
    points = {name: [[number, 0]] * 5 for number, name in enumerate(("a1", "a2", "c1", "c2", "c3"))}
    (lfw / "own_meta.json").write_text(json.dumps({"pairs": listed, "landmarks": points}))
    landmarks = open_verification_source(LocalFolder(lfw), "own", "own_pairs.csv").landmarks()
    assert landmarks is not None
    assert landmarks[:, 0, 0].tolist() == [0, 1, 0, 3, 2, 4]


def test_a_pair_is_not_genuine_and_impostor(lfw: Path) -> None:
    a, c = SHORT["a"], SHORT["c"]
    (lfw / "own_pairs.csv").write_text(f"first,second,same\n{a}1.jpg,{c}2.jpg,0\n\n{c}2.jpg,{a}1.jpg,1\n")
    with pytest.raises(DataError, match=r"lines 2 and 4 compare .* once as one person and once as two"):
        open_verification_source(LocalFolder(lfw), "own", "own_pairs.csv")


def test_names_without_their_ending_are_refused_with_the_file_that_is_there(lfw: Path) -> None:
    (lfw / "own_pairs.csv").write_text("first,second,same\nAnn_Bee/Ann_Bee_0001,Ann_Bee/Ann_Bee_0002,1\n")
    with pytest.raises(DataError, match=r"Ann_Bee/Ann_Bee_0001\.jpg is there: write names as the files have them"):
        open_verification_source(LocalFolder(lfw), "own", "own_pairs.csv")


def test_equal_files_under_several_names_are_told(lfw: Path, config) -> None:
    """They count as the set has them: so do those of a published `.bin`, which has no names."""
    a, c = SHORT["a"], SHORT["c"]
    for number, copied in ((8, 1), (9, 2)):
        (lfw / f"{a}{number}.jpg").write_bytes((lfw / f"{a}{copied}.jpg").read_bytes())
    pairs = [(f"{a}1", f"{a}2", 1), (f"{a}1", f"{c}1", 0), (f"{a}9", f"{a}8", 0), (f"{a}1", f"{a}8", 1)]
    (lfw / "own_pairs.csv").write_text("first,second,same\n" + "".join(f"{x}.jpg,{y}.jpg,{s}\n" for x, y, s in pairs))
    report = check_source(str(lfw), config(lfw))
    for sentence in (
        "own: 1 pair of two equal files, the first is pair 4",
        "own: 1 pair of the same files as another, the first is pair 3 (as pair 1)",
        "own: pairs 1 and 3 are of the same files, once as one person and once as two",
    ):
        assert sentence in told(report)
    assert "own: 4 pairs" in told(report)


def test_lfws_people_choose_the_training_images(lfw: Path, tmp_path: Path, config) -> None:
    (tmp_path / "peopleDevTrain.txt").write_text("2\nAnn_Bee\t2\nEva_Fox\t2\n")
    settings = config(lfw, subset=str(tmp_path / "peopleDevTrain.txt"))
    opened = open_inputs(settings, open_folders(settings.data, lfw))
    names = [opened.training.name(number) for number in opened.selected]
    assert names == [f"{name}/{name}_000{n}.jpg" for name in ("Ann_Bee", "Eva_Fox") for n in (1, 2)]


@pytest.mark.parametrize("text", ["3,1,4,4\n", "[1, 3, 4]", "1,3,4,"])
@pytest.mark.parametrize("kind", ["records", "folders"])
def test_one_line_of_positions_chooses_by_order(
    lfw: Path, recordio: Path, tmp_path: Path, config, text: str, kind: str
) -> None:
    (tmp_path / "index.txt").write_text(text)
    settings = config(recordio if kind == "records" else lfw, subset=str(tmp_path / "index.txt"))
    opened = open_inputs(settings, open_folders(settings.data, tmp_path / "scratch"))
    assert opened.selected.tolist() == [1, 3, 4]


def test_positions_count_as_torchvision_orders_the_folder(tmp_path: Path, config) -> None:
    from torchvision.datasets import ImageFolder

    folder = tmp_path / "imgs"
    for label, images in ((2, (7, 10, 9)), (10, (11, 12)), (100, (8,)), (1, (20, 3))):
        (folder / str(label)).mkdir(parents=True)
        for number in images:
            (folder / str(label) / f"{number}.jpg").write_bytes(encode_jpeg(face(number)))
    (tmp_path / "index.txt").write_text("0,2,3,5")
    settings = config(folder, subset=str(tmp_path / "index.txt"))
    opened = open_inputs(settings, open_folders(settings.data, tmp_path / "scratch"))
    theirs = ImageFolder(str(folder)).samples
    wanted = {str(Path(theirs[position][0]).relative_to(folder)) for position in (0, 2, 3, 5)}
    assert {opened.training.name(number) for number in opened.selected} == wanted


def test_positions_in_records_count_as_in_the_folder_made_of_them(recordio: Path, tmp_path: Path, config) -> None:
    from oaml_core.data.sources.recordio_source import RecordIOSource

    source = RecordIOSource(LocalFolder(recordio), tmp_path)
    labels = np.arange(len(source))[::-1] % 12 + 1  # text sorts 10 before 2
    source.index = replace(source.index, labels=labels)
    made = sorted(range(len(source)), key=lambda n: (str(labels[n]), f"{source.index.keys[n]}.jpg"))
    (tmp_path / "index.txt").write_text("0,1,4")
    assert find_subset(source, tmp_path / "index.txt").tolist() == sorted(made[place] for place in (0, 1, 4))


def test_a_position_beyond_the_source_is_refused(lfw: Path, tmp_path: Path, config) -> None:
    (tmp_path / "index.txt").write_text("0,11")
    with pytest.raises(DataError, match=r"position 11; the source has 11 images"):
        check_source(str(lfw), config(lfw, subset=str(tmp_path / "index.txt")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_pair_lists_of_spreadsheets_are_read(lfw: Path, encoding: str) -> None:
    rows = ["First;Second;Same", r"Ann_Bee\Ann_Bee_0001.jpg;./Ann_Bee/Ann_Bee_0002.jpg;TRUE", ";;"]
    (lfw / "own_pairs.csv").write_text("\r\n".join(rows), encoding=encoding, newline="")
    pairs = open_verification_source(LocalFolder(lfw), "own", "own_pairs.csv")
    assert pairs.issame.tolist() == [True]
    assert np.asarray(pairs.identities).tolist() == [0, 0]
