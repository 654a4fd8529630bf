"""The picture of a match from a gallery shows what corresponds, whatever the gallery keeps of a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor
from plain_model import PlainModel, face_of

from oaml_core.inference.compared_pair import MATCH_COLOURS
from oaml_core.inference.drawing import FACE, GAP
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.identify import draw_gallery_identification, identify_in_gallery
from oaml_core.inference.gallery.rebuild import encode_face
from oaml_core.inference.records import FaceRecords, Scores
from oaml_core.photos.faces import FaceFinder


class VectorModel(PlainModel):
    """Makes one local vector per face beside its local features, as adapted models do."""

    def records(self, images: np.ndarray) -> FaceRecords:
        found = super().records(images)
        return found._replace(local_embedding=found.embedding)

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        cosine = (probe.local_embedding * gallery.local_embedding).sum(1, dtype=np.float64)
        return Scores(cosine, cosine, cosine, (probe.visibility * gallery.visibility).mean((1, 2, 3)))


@pytest.mark.parametrize("model", [PlainModel(), VectorModel()], ids=["features", "vector"])
def test_lines_join_the_places_that_correspond(tmp_path: Path, model: PlainModel) -> None:
    Image.fromarray(face_of(2, 7)).save(tmp_path / "probe.png")
    with Gallery(tmp_path / "people.gallery", model.version) as gallery:
        for person in range(4):
            face = face_of(person)
            kept = encode_face(face)
            gallery.add(f"person {person}", model.records(face[None]), source="", digest=str(person), image=kept)
        finder = FaceFinder(aligned=True)
        found, answer = identify_in_gallery(gallery, model, finder, tmp_path / "probe.png", far=0.01)
        assert draw_gallery_identification(found, answer, gallery, model, tmp_path / "pair.png")
    between = np.asarray(Image.open(tmp_path / "pair.png"))[:FACE, FACE : FACE + GAP]
    strongest = ImageColor.getrgb(MATCH_COLOURS[0])
    assert (between == strongest).all(-1).any()
