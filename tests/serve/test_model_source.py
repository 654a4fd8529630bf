"""The model that a service begins with: the newest, or that of its gallery."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_model import PlainModel, face_of
from service_client import png
from test_changing_models import FIRST, SECOND, Models, generations, identify, started

from oaml_core.errors import GalleryMoved, StoreError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.model_source import first_model


def enrolled(path: Path, model: PlainModel, address: str = "", *, keep: bool = False) -> Path:
    with Gallery(path, model.version) as gallery:
        face = face_of(1)
        gallery.add("p 1", model.records(face[None]), source="", digest="1", image=png(face) if keep else None)
        gallery.note_model_address(address)
    return path


def test_without_a_gallery_or_with_one_of_the_newest_model_that_is_served(tmp_path: Path) -> None:
    for path in (None, tmp_path / "none", enrolled(tmp_path / "g", SECOND)):
        assert first_model(Models(SECOND), path) == (SECOND, True)


def test_a_gallery_of_an_earlier_model_is_served_with_the_one_that_it_names(tmp_path: Path) -> None:
    source = Models(SECOND)
    source.elsewhere["/there/model.onnx"] = FIRST
    path = enrolled(tmp_path / "g", FIRST, "/there/model.onnx")
    assert first_model(source, path) == (FIRST, False)


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_newest_takes_over_then_if_it_can_describe_the_gallery(tmp_path: Path, is_kept: bool) -> None:
    source, path = Models(SECOND), enrolled(tmp_path / "g", FIRST, keep=is_kept)
    with Gallery(path, "first") as gallery, started(gallery, source, is_newest=False) as client:
        assert identify(client, 1).json()["people"][0]["person"] == "p 1"
        generations(client).look()
        assert generations(client).present.model is (SECOND if is_kept else FIRST)
        assert identify(client, 1).json()["people"][0]["person"] == "p 1"


@pytest.mark.parametrize("reason", ["names no place", "The store is away", "lies model third now"])
def test_a_gallery_whose_model_is_not_to_be_found_says_what_to_do(tmp_path: Path, reason: str) -> None:
    class Elsewhere(Models):
        def load(self, address: str = "") -> PlainModel:
            if address and reason == "The store is away":
                raise StoreError("The store is away.")
            return PlainModel("third") if address else self.now

    path = enrolled(tmp_path / "g", FIRST, "" if reason == "names no place" else "/there/model.onnx")
    with pytest.raises(GalleryMoved, match=reason) as told:
        first_model(Elsewhere(SECOND), path)
    assert "of model first, but second" in str(told.value)
    assert f"oaml gallery rebuild {path}" in str(told.value)
    assert "--onnx FILE" in str(told.value)
