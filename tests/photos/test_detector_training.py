"""Training of a detector says what its networks find in people and photographs that it does not learn from."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.yunet import NETWORK, STRIDES
from oaml_core.registry import OCCLUDERS

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _no_occluder_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import_module("oaml_core.data.augment.occluder_artwork")  # what registers itself once must be there before
    monkeypatch.setattr(OCCLUDERS, "_found", dict(OCCLUDERS._found))


def test_validation_counts_faces_that_are_found_and_places_that_are_none() -> None:
    import torch

    from benchmarks.detector_validation import COVERS, DetectorValidation
    from benchmarks.scene_parts import PastedFace
    from benchmarks.yunet_module import load
    from oaml_core.photos.alignment import TEMPLATE

    portrait = np.ascontiguousarray(skimage.data.astronaut())
    face = PastedFace(FaceFinder().main_face_in(portrait, "portrait").image, TEMPLATE)
    network = load(NETWORK)
    verdict = DetectorValidation([face], [skimage.data.coffee()], scenes=2)(network)
    assert tuple(verdict.found) == COVERS
    assert verdict.found["uncovered"] == verdict.scenes == 2
    assert (verdict.false, verdict.photographs) == (0, 1)
    with_a_face = DetectorValidation([face], [portrait], scenes=1)
    assert with_a_face(network).false >= 1
    with torch.no_grad():
        for head in network.heads[: len(STRIDES)]:
            head.depth.bias.fill_(-30.0)
    blind = with_a_face(network)
    assert blind.worth == blind.false == sum(blind.found.values()) == 0
    assert str(blind) == (
        "found uncovered 0 of 1, covered 0 of 1, veiled 0 of 1; 0 false faces, 1 photographs without faces"
    )


def test_validation_veils_are_nobody_elses() -> None:
    from benchmarks.detector_validation import VEIL, DetectorValidation
    from benchmarks.scene_parts import PastedFace
    from oaml_core.data.augment.occluder_artwork import artwork_of
    from oaml_core.photos.alignment import TEMPLATE

    DetectorValidation([PastedFace(np.zeros((112, 112, 3), np.uint8), TEMPLATE)], [skimage.data.coffee()], scenes=1)
    known = {
        style.seed
        for name in ("veil", "niqab")
        for part in ("train", "test")
        for style in artwork_of(name).styles(part)
    }
    assert not known & {style.seed for style in artwork_of(VEIL).styles("test")}


def test_best_network_is_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from benchmarks.detector_validation import Best, DetectorVerdict
    from benchmarks.yunet_module import YuNetModule, load

    def judged(network: YuNetModule) -> DetectorVerdict:
        return DetectorVerdict({"veiled": found[float(network.stem.weight.detach().mean())]}, 9, 0, 1)

    found, network, best = {0.0: 5, 1.0: 8, 2.0: 7}, load(NETWORK), None
    for step, value in enumerate(found):
        with torch.no_grad():
            network.stem.weight.fill_(value)
        if best is None:
            best = Best(judged, network, tmp_path / "best.onnx")
        else:
            best.meet(network, step)
    assert best is not None
    assert best.verdict.worth == 8
    assert float(load(tmp_path / "best.onnx").stem.weight.detach().mean()) == 1.0
    said = capsys.readouterr().out.splitlines()
    assert [line.endswith("the best so far") for line in said] == [False, True, False]
