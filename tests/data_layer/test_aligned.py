"""Photographs prepared as training faces: found, cut out, listed, the same every time, and once only."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from oaml_core.config import Config
from oaml_core.config.data import check_data
from oaml_core.data.check.checks import check_source
from oaml_core.data.prepare.fingerprint import shaping_settings
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import dataset_folder, fetch_prepared
from oaml_core.decoding.decode import decode_image, encode_jpeg
from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.photos.alignment import TEMPLATE, template_distance
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.yunet import HABIT, YuNet
from oaml_core.store import open_store

BROKEN = {"align": True, "broken_images_tolerated": 0.5}


def portrait(number: int, mirrored: bool) -> bytes:
    """A photograph of a person, 300 × 260 pixels, that is like no other number's."""
    photo = skimage.data.astronaut()[: 260 + 4 * number, 80 + 5 * number : 380 + 5 * number]
    photo = photo[:, ::-1] if mirrored else photo
    return encode_jpeg(np.ascontiguousarray(photo[:260]))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two people with three photographs each, one photograph without a face, and a damaged one."""
    folder = tmp_path / "photographs"
    for person, mirrored in (("anna", False), ("berta", True)):
        (folder / person).mkdir(parents=True)
        for number in range(3):
            (folder / person / f"{number}.jpg").write_bytes(portrait(number, mirrored))
    (folder / "anna" / "cup.jpg").write_bytes(encode_jpeg(skimage.data.coffee()[:200, :300]))
    (folder / "berta" / "damaged.jpg").write_bytes(portrait(0, True)[:4000])
    return folder


def test_faces_are_found_aligned_and_listed_while_preparing(
    photographs: Path, tmp_path: Path, config: Callable[..., Config]
) -> None:
    settings = config(photographs, **BROKEN)
    made = prepare_dataset(settings, open_store(str(tmp_path / "store")))
    assert (made.manifest.images, made.manifest.identities) == (6, ["anna", "berta"])
    assert made.manifest.set_aside == 1, "a photograph without a face is not broken"
    assert any("found in 6 of 7 photographs" in warning for warning in made.manifest.warnings)
    folder = dataset_folder(settings, made.fingerprint)
    listed = json.loads((folder / "checks.json").read_text())["set_aside"]
    reasons = {one["name"]: one["reason"] for one in listed}
    assert reasons.keys() == {"anna/cup.jpg", "berta/damaged.jpg"}
    assert reasons["anna/cup.jpg"].startswith("no face was found")
    points = np.load(folder / "train" / "landmarks.npy")
    assert points.shape == (6, 5, 2)
    assert np.abs(points - TEMPLATE).max() < 8, "occluders are drawn where each face has its eyes, nose and mouth"
    assert len(np.unique(points.round(1), axis=0)) == 6, "the points are each face's own"


def test_prepared_again_elsewhere_it_is_the_same_to_the_byte(
    photographs: Path, tmp_path: Path, config: Callable[..., Config]
) -> None:
    settings = config(photographs, **BROKEN)
    first = prepare_dataset(settings, open_store(str(tmp_path / "store")))
    elsewhere = replace(settings, work_dir=str(tmp_path / "elsewhere"), store=str(tmp_path / "other_store"))
    second = prepare_dataset(elsewhere, open_store(elsewhere.store))
    assert second.manifest == first.manifest


def test_an_interrupted_alignment_goes_on_where_it_stopped(
    photographs: Path, tmp_path: Path, config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    search = FaceFinder.main_face_in

    def counted(finder: FaceFinder, photo: np.ndarray, *others: object) -> object:
        if len(looked_at) == 3:
            raise OSError("no space left")
        looked_at.append(1)
        return search(finder, photo, *others)

    monkeypatch.setattr(FaceFinder, "main_face_in", counted)
    monkeypatch.setattr("oaml_core.data.sources.aligned.CORES", 1)
    settings, store = config(photographs, **BROKEN), open_store(str(tmp_path / "store"))
    with pytest.raises(OSError, match="no space left"):
        prepare_dataset(settings, store)
    monkeypatch.setattr(FaceFinder, "main_face_in", search)
    rest: list[int] = []
    monkeypatch.setattr(FaceFinder, "main_face_in", lambda *one: (rest.append(1), search(*one))[1])
    assert prepare_dataset(settings, store).manifest.images == 6
    assert len(looked_at) + len(rest) == 7, "each photograph that can be read is searched once"


def test_photographs_of_a_list_and_of_pairs_are_aligned_too(
    photographs: Path, tmp_path: Path, config: Callable[..., Config]
) -> None:
    (photographs / "anna" / "cup.jpg").rename(photographs / "cup.jpg")
    pairs = [("anna/0.jpg", "anna/1.jpg", 1), ("anna/0.jpg", "berta/1.jpg", 0), ("cup.jpg", "anna/2.jpg", 0)]
    pairs += [("berta/0.jpg", "berta/1.jpg", 1), ("anna/2.jpg", "berta/2.jpg", 0)]
    for name, rows in (
        ("own_pairs.csv", [("first", "second", "same"), *pairs]),
        ("train.csv", [("path", "identity")] + [(f"{p}/{n}.jpg", p) for p in ("anna", "berta") for n in range(3)]),
    ):
        with (photographs / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    made = prepare_dataset(config(photographs, align=True), open_store(str(tmp_path / "store")))
    assert made.manifest.source_kind == "image_list"
    assert made.manifest.verification == {"own": 4}
    assert any("1 of 5 pairs of own are left out" in warning for warning in made.manifest.warnings)
    pairs_set = fetch_prepared(made.uri, tmp_path / "fetched").verification["own"]
    assert pairs_set.issame.tolist() == [True, False, True, False]
    assert np.abs(pairs_set.landmarks - TEMPLATE).max() < 8
    for image in np.asarray(pairs_set.images):
        seen = YuNet(score=0.5).detect(image)
        assert template_distance(seen.points[0], 112, HABIT) < 6


def test_settings_of_the_alignment_enter_the_fingerprint(tmp_path: Path, config: Callable[..., Config]) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"a network")
    plain = shaping_settings(config(tmp_path))
    assert shaping_settings(config(tmp_path, detector=str(own))) == plain, "what is not used changes nothing"
    aligned = shaping_settings(config(tmp_path, align=True))
    other = shaping_settings(config(tmp_path, align=True, detector=str(own)))
    own.write_bytes(b"a better network")
    assert len({json.dumps(one) for one in (plain, aligned, other)}) == 3
    assert shaping_settings(config(tmp_path, align=True, detector=str(own))) != other
    with pytest.raises(ModelInputError, match="no detector"):
        shaping_settings(config(tmp_path, align=True, detector="missing.onnx"))


def test_alignment_that_cannot_be_is_refused_by_name(tmp_path: Path, config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"data\.channel_order"):
        check_data(config(tmp_path, align=True, channel_order="bgr").data)
    with pytest.raises(ConfigError, match=r"data\.source"):
        check_data(config(None, align=True).data)


def test_check_says_what_prepare_will_align(photographs: Path, config: Callable[..., Config]) -> None:
    report = check_source(str(photographs), config(photographs, **BROKEN))
    found = {finding.check: finding for finding in report.findings}
    assert found["faces"].result == "found in 6 of 7 photographs"
    assert "median" in found["alignment"].result
    assert found["alignment"].verdict == "ok"
    raw = check_source(str(photographs), config(photographs, broken_images_tolerated=0.5))
    readable = next(finding for finding in raw.findings if finding.check == "readable")
    assert "data.align" in readable.remedy
    image = Image.fromarray(decode_image((photographs / "anna" / "0.jpg").read_bytes()))
    assert image.width != image.height
