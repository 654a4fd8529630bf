"""What the service does with photographs: decoded in memory, described, compared, and forgotten."""

from __future__ import annotations

import base64
import hashlib
from io import BytesIO
from typing import Literal, Protocol, Self

import numpy as np
from PIL import Image

from oaml_core.decoding.decode import decode_image
from oaml_core.decoding.header import read_header
from oaml_core.errors import DataError, ModelInputError
from oaml_core.inference.compared_pair import drawable_pair
from oaml_core.inference.comparer import Comparer, without_threshold
from oaml_core.inference.decision import Comparison
from oaml_core.inference.drawing import draw_pair
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.enrol import EnrolledAs, described_upload
from oaml_core.inference.gallery.identify import pair_with_kept
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.photo_records import describe_face, remark
from oaml_core.inference.proof import ExpectedTar, proofs_of_face
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.verdict import Verdict, judge_pair
from oaml_core.photos.detection import Photo
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.files import MIN_SIDE
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.photos.quality import covered_regions
from oaml_core.serve.answers import (
    CandidateAnswer,
    CompareAnswer,
    DetectAnswer,
    EnrolAnswer,
    FaceAnswer,
    IdentifyAnswer,
    ProofAnswer,
)
from oaml_core.serve.batching import SharedModel

ENROL_TRIES = 3
"""Tries to enrol one photograph that others add and delete meanwhile."""


class ServedModel(Comparer, Protocol):
    """A recogniser that knows its version."""

    @property
    def version(self) -> str: ...


class FaceService:
    """Model, detector and gallery of a service.

    Args:
        model: recogniser.
        finder: finds and aligns.
        gallery: of the same model; None: the service has none.
        pixels: largest number of pixels of a photograph.
        most: largest number of faces that are described in one photograph.
        at_once: passes of the model side by side; requests that wait for one share the next.
    """

    def __init__(
        self,
        model: ServedModel,
        finder: FaceFinder,
        gallery: Gallery | None,
        *,
        pixels: int,
        most: int,
        at_once: int = 1,
    ) -> None:
        self.model, self.finder, self.gallery = model, finder, gallery
        self._pixels, self._most, self._at_once = pixels, most, at_once
        self.shared = SharedModel(model, at_once)
        """The same model, by passes that requests share."""
        self._search = None if gallery is None else GallerySearch(gallery, model)

    def with_model(self, model: ServedModel, gallery: Gallery | None) -> Self:
        """Return the same service by another model, and the gallery of that one."""
        return type(self)(model, self.finder, gallery, pixels=self._pixels, most=self._most, at_once=self._at_once)

    def self_test(self) -> None:
        """Describe and compare a grey image: a model that cannot is not ready.

        Raises:
            ModelInputError: the model's answer is not finite.
        """
        size = self.model.image_size
        records = self.model.records(np.full((1, size, size, 3), 128, dtype=np.uint8))
        if not np.isfinite(self.model.scores(records, records).global_score).all():
            raise ModelInputError("The model's score of an image with itself is not finite. Serve another model.")

    def prepare(self) -> None:
        """Load the gallery, so that the first search does not have to; large ones take a while."""
        if self._search is not None:
            self._search.prepare()

    def compare(self, first: bytes, second: bytes, far: float, picture: bool) -> CompareAnswer:
        """Compare the main faces of two photographs at a false accept rate; with a picture on request.

        Raises:
            ModelInputError: a photograph cannot be read or shows no face.
        """
        (face, one), (another, other) = self._described(first, "first"), self._described(second, "second")
        scores = self.model.scores(one, other)
        name, _ = scores.deciding
        found = Comparison.of(scores, self.model.threshold(far, name))
        verdict, reason = self._judged(far, name, found.score, found.visible_share, [face, another])
        decision: Literal["same", "different", "undecided"] = "undecided"
        if not reason:
            decision = "same" if verdict.same else "different"
        drawn = None
        if picture:
            drawn = _data_address(draw_pair(drawable_pair((face.image, another.image), (one, other))))
        return CompareAnswer(
            decision=decision,
            reason=reason,
            score=found.score,
            decided_by=name,
            threshold=found.threshold,
            far=far,
            global_score=found.global_score,
            local_score=found.local_score,
            log_likelihood_ratio=found.log_likelihood_ratio,
            ratio_interval=found.ratio_interval,
            visible_share=found.visible_share if one.tell_cover and other.tell_cover else None,
            expected=_proof(verdict.proof.expected),
            faces=[self._answer(face, one), self._answer(another, other)],
            picture=drawn,
        )

    def detect(self, photo: bytes) -> DetectAnswer:
        """Describe the faces of a photograph.

        Raises:
            ModelInputError: it cannot be read.
        """
        image = self._decoded(photo, "photo")
        found = self.finder.all_faces_in(image, self.model.image_size)
        faces = [self._answer(*describe_face(self.shared, face)) for face in found[: self._most]]
        return DetectAnswer(width=image.shape[1], height=image.shape[0], found=len(found), faces=faces)

    def identify(self, photo: bytes, far: float, top: int, *, picture: bool = False) -> IdentifyAnswer:
        """Search the gallery for the main face of a photograph; with a picture of the best person's face on request.

        Raises:
            ModelInputError: it cannot be read or shows no face. DataError: the gallery cannot be searched.
        """
        assert self._search is not None
        assert self.gallery is not None
        face, records = self._described(photo, "photo")
        answer = self._search.search(records, top)
        threshold = self.model.threshold(far, answer.score)
        decision: Literal["known", "unknown", "undecided"] = "unknown"
        reason, verdict = "", Verdict(None)
        if answer.people:
            best = answer.people[0]
            verdict, reason = self._judged(far, answer.score, best.score, best.visible_share, [face])
            decision = "undecided" if reason else "known" if verdict.same else "unknown"
        drawn = None
        if picture and answer.people:
            drawn = pair_with_kept(self.gallery, self.shared, answer.people[0].face.key, face.image, records)
        people = [
            CandidateAnswer(
                person=one.face.person,
                key=one.face.key,
                score=one.score,
                global_score=one.global_score,
                visible_share=one.visible_share if records.tell_cover else None,
                log_likelihood_ratio=None if one.ratio is None else one.ratio.log,
                ratio_interval=None if one.ratio is None else one.ratio.interval,
            )
            for one in answer.people
        ]
        return IdentifyAnswer(
            decision=decision,
            reason=reason,
            decided_by=answer.score,
            threshold=threshold,
            far=far,
            expected=_proof(verdict.proof.expected),
            face=self._answer(face, records),
            people=people,
            compared=answer.compared,
            faces=answer.faces,
            picture=None if drawn is None else _data_address(draw_pair(drawn)),
        )

    def enrol(self, person: str, photo: bytes, keep: bool) -> EnrolAnswer:
        """Add the main face of a photograph to the gallery, unless the person has this photograph already.

        Raises:
            ModelInputError: it cannot be read or shows no face. DataError: the name is none.
        """
        assert self.gallery is not None
        digest, face = hashlib.sha256(photo).hexdigest(), None
        for _ in range(ENROL_TRIES):
            if (there := self.gallery.find(person, digest)) is not None:
                return EnrolAnswer(key=there, added=False)
            face = face or self._upload(photo, digest, keep)
            key = self.gallery.add(person, **face)
            if key is not None:
                return EnrolAnswer(key=key, added=True)
        raise DataError("Others add and delete this photograph all the time. Send it again.")

    def replace(self, key: int, photo: bytes, keep: bool) -> EnrolAnswer:
        """Put the main face of a photograph in place of a face of the same person.

        Raises:
            ModelInputError: it cannot be read or shows no face.
            DataError: there is no such face, or the person has this photograph already.
        """
        assert self.gallery is not None
        face = self._upload(photo, hashlib.sha256(photo).hexdigest(), keep)
        return EnrolAnswer(key=self.gallery.replace(key, **face), added=True)

    def _upload(self, photo: bytes, digest: str, keep: bool) -> EnrolledAs:
        image = self._decoded(photo, "photo")
        return described_upload(self.shared, self.finder, image, digest=digest, keep=keep)

    def _described(self, data: bytes, name: str) -> tuple[PhotoFace, FaceRecords]:
        photo = self._decoded(data, name)
        return describe_face(self.shared, self.finder.main_face_in(photo, f"the image {name!r}", self.model.image_size))

    def _decoded(self, data: bytes, name: str) -> Photo:
        try:
            # The header alone is read first: a small file can announce a large picture.
            _, width, height, _ = read_header(data)
        except DataError as error:
            raise ModelInputError(f"The image {name!r} cannot be used: {error}.") from error
        if width * height > self._pixels:
            raise ModelInputError(
                f"The image {name!r} has {width} × {height} pixels; {self._pixels:,} are taken. Send a smaller one."
            )
        if min(width, height) < MIN_SIDE:
            raise ModelInputError(
                f"The image {name!r} has {width} × {height} pixels; a face needs {MIN_SIDE} at least."
            )
        try:
            return decode_image(data)
        except DataError as error:
            raise ModelInputError(f"The image {name!r} cannot be used: {error}.") from error

    def _judged(
        self, far: float, score: str, value: float, visible_share: float, faces: list[PhotoFace]
    ) -> tuple[Verdict, str]:
        """Return the verdict on a pair, and why nothing is decided: empty if something is."""
        verdict = judge_pair(self.model, score, value, visible_share, far, faces)
        if self.model.threshold(far, score) is None:
            return verdict, without_threshold(far, list(self.model.thresholds(score)), here=False)
        return verdict, verdict.reason

    def _answer(self, face: PhotoFace, records: FaceRecords) -> FaceAnswer:
        score, _ = self.model.scores(records, records).deciding
        proves = proofs_of_face(self.model, score, float(records.visibility.mean()))
        return _answer(face, records, [answer for one in proves if (answer := _proof(one)) is not None])


def _proof(expected: ExpectedTar | None) -> ProofAnswer | None:
    if expected is None:
        return None
    return ProofAnswer(
        far=expected.far,
        tar=expected.tar,
        interval=expected.interval,
        pairs=expected.pairs,
        low=expected.low,
        high=expected.high,
    )


def _answer(face: PhotoFace, records: FaceRecords, proves: list[ProofAnswer]) -> FaceAnswer:
    visible = records.visibility[0, 0]
    box = None
    if face.box is not None:
        left, top, right, bottom = (round(float(value), 1) for value in face.box)
        box = (left, top, right, bottom)
    points = [] if face.points is None else [(round(float(x), 1), round(float(y), 1)) for x, y in face.points]
    return FaceAnswer(
        box=box,
        points=points,
        score=face.score,
        visible_share=float(visible.mean()) if records.tell_cover else None,
        covered=covered_regions(visible),
        visibility=[[round(float(value), 3) for value in row] for row in visible],
        remark=remark(face, records),
        proves=proves,
    )


def _data_address(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
