"""A pair that shows too little is not called different people, and the answer says what such pairs prove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plain_model import PlainModel

from oaml_core.export.metadata import operating_points
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.enrol import enrol_folder
from oaml_core.inference.gallery.identify import identify_in_gallery
from oaml_core.inference.identify import identify
from oaml_core.inference.match import match_files
from oaml_core.inference.proof import FEWEST, expected_tar
from oaml_core.photos.faces import FaceFinder


def share_bin(low: float, tar: float | None, genuine: int = 200, far: float = 0.01) -> dict[str, Any]:
    interval = None if tar is None else [max(0.0, tar - 0.05), min(1.0, tar + 0.05)]
    return {"low": low, "high": low + 0.2, "far": far, "tar": tar, "tar_interval": interval, "genuine": genuine}


BINS = [share_bin(low, tar) for low, tar in ((0.0, None), (0.2, 0.1), (0.4, 0.3), (0.6, 0.7), (0.8, 0.95))]


class Judged(PlainModel):
    """A model whose evaluation accepted few pairs that show little."""

    bins = BINS

    def by_visible_share(self, score: str) -> list[dict[str, Any]]:
        return self.bins


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two faces of noise, whole and with the lower half covered by black."""
    made = {}
    for name, seed in (("a", 1), ("b", 2)):
        image = np.random.default_rng(seed).integers(60, 255, (112, 112, 3), dtype=np.uint8)
        for kind, rows in (("whole", 112), ("veiled", 56)):
            image = image.copy()
            image[rows:] = 0
            made[f"{name}_{kind}"] = tmp_path / f"{name}_{kind}.png"
            Image.fromarray(image).save(made[f"{name}_{kind}"])
    return made


def test_too_little_to_tell_people_apart_is_said(files: dict[str, Path]) -> None:
    model = Judged(thresholds={0.01: 1e9})
    whole = match_files(model, files["a_whole"], files["b_whole"], far=0.01)
    assert whole.comparison.same is False
    assert "80 to 100 % of the face 95 % are accepted (90 to 100 %, 200 pairs)" in str(whole)
    veiled = match_files(model, files["a_veiled"], files["b_veiled"], far=0.01)
    assert veiled.comparison.same is None
    assert str(veiled).startswith("cannot decide: of pairs of one person that show 40 to 60 % of the face 30 %")


def test_an_accepted_pair_stays_accepted(files: dict[str, Path]) -> None:
    found = match_files(Judged(thresholds={0.01: -1e9}), files["a_veiled"], files["b_veiled"], far=0.01)
    assert found.comparison.same is True
    assert "30 % are accepted" in str(found)


@pytest.mark.parametrize(
    ("share", "far", "bins"),
    [
        (0.5, 0.001, BINS),
        (0.1, 0.01, BINS),
        (0.5, 0.01, [share_bin(0.4, 0.3, FEWEST - 1)]),
        (0.5, 0.01, []),
    ],
    ids=["other rate", "no pairs", "few pairs", "nothing measured"],
)
def test_nothing_is_said_from_nothing(share: float, far: float, bins: list[dict[str, Any]]) -> None:
    model = Judged()
    model.bins = bins
    assert expected_tar(model, "global", share, far) is None
    assert expected_tar(PlainModel(), "global", share, far) is None


def test_a_score_that_most_pairs_of_one_person_exceed_is_a_decision(files: dict[str, Path]) -> None:
    """A weak model accepts few at a strict rate; a score below the threshold of a lenient one still tells."""
    weak = Judged(thresholds={0.01: 1e9, 0.1: 1e8})
    weak.bins = [share_bin(0.8, 0.39), share_bin(0.8, 0.68, far=0.1)]
    found = match_files(weak, files["a_whole"], files["b_whole"], far=0.01)
    assert found.comparison.same is False
    assert "39 % are accepted" in str(found)
    assert "at least 68 % score higher than this pair" in str(found)
    weak.bins = [share_bin(0.8, 0.39), share_bin(0.8, 0.40, far=0.1)]
    assert match_files(weak, files["a_whole"], files["b_whole"], far=0.01).comparison.same is None
    between = Judged(thresholds={0.01: 1e9, 0.1: -1e9})
    between.bins = [share_bin(0.8, 0.39), share_bin(0.8, 0.68, far=0.1)]
    told = match_files(between, files["a_whole"], files["b_whole"], far=0.01)
    assert told.comparison.same is None, "above the lenient threshold its pairs prove nothing of this one"


def test_the_end_of_the_interval_decides_not_the_middle(files: dict[str, Path]) -> None:
    model = Judged(thresholds={0.01: 1e9})
    model.bins = [share_bin(0.8, 0.47)]
    assert match_files(model, files["a_whole"], files["b_whole"], far=0.01).comparison.same is False
    model.bins = [share_bin(0.8, 0.44)]
    assert match_files(model, files["a_whole"], files["b_whole"], far=0.01).comparison.same is None


@pytest.mark.parametrize(("tar", "genuine"), [(0.1, FEWEST - 1), (None, 0)])
def test_too_few_measured_pairs_are_no_reason_against_a_decision(
    files: dict[str, Path], tar: float | None, genuine: int
) -> None:
    model = Judged(thresholds={0.01: 1e9})
    model.bins = [share_bin(0.8, tar, genuine)]
    found = match_files(model, files["a_whole"], files["b_whole"], far=0.01)
    assert found.comparison.same is False
    assert f"is not known ({genuine} were measured, {FEWEST} are the least)" in str(found)


def test_a_folder_and_a_gallery_are_answered_by_the_same_rule(files: dict[str, Path], tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    for kind in ("whole", "veiled"):
        (people / f"b_{kind}.png").write_bytes(files[f"b_{kind}"].read_bytes())
    finder = FaceFinder(aligned=True)
    for kind, known in (("whole", False), ("veiled", None)):
        model = Judged(thresholds={0.01: 1e9})
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "b.png").write_bytes(files[f"b_{kind}"].read_bytes())
        found = identify(model, folder, files[f"a_{kind}"], far=0.01, finder=finder)
        with Gallery(tmp_path / f"{kind}.gallery", model.version) as gallery:
            enrol_folder(gallery, model, finder, folder)
            searched, _ = identify_in_gallery(gallery, model, finder, files[f"a_{kind}"], far=0.01)
        for answer in (found, searched):
            assert answer.known is known
            assert "are accepted" in str(answer).splitlines()[0]
            assert "% visible" in answer.remarks()[0]
        assert str(found).startswith("nobody in the gallery" if known is False else "cannot decide")
    assert "covered: nose, mouth" in found.remarks()[0]


def test_bins_touch_and_hold_their_ends() -> None:
    assert [expected_tar(Judged(), "global", share, 0.01).low for share in (0.2, 0.4, 0.79, 0.8, 1.0)] == [
        0.2,
        0.4,
        0.6,
        0.8,
        0.8,
    ]


def test_an_exported_model_keeps_the_bins() -> None:
    scores = {"global": {"tar_at_far": []}}
    one = {"conditions": {"clean": {"scores": scores}}, "combined": {}, "by_visible_share": {"global": BINS}}
    assert operating_points({"sets": {"lfw": one}})["by_visible_share"] == {"global": BINS}
    assert operating_points(None)["by_visible_share"] == {}
