"""What the service answers, as its OpenAPI description shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

INTERVAL = (
    "95 % interval of log_likelihood_ratio over the people of the model's evaluation; null for an end that so few "
    "people cannot show, null for both: the model was evaluated without it"
)


class ProofAnswer(BaseModel):
    """Share of pairs of one person that the model's evaluation accepted, among those that show as much of the face."""

    far: float = Field(description="false accept rate of the threshold", examples=[1e-3])
    tar: float = Field(description="share of them that is accepted, 0 to 1", examples=[0.93])
    interval: tuple[float, float] = Field(description="95 % interval of that, over people", examples=[(0.91, 0.95)])
    pairs: int = Field(description="pairs that were measured", examples=[1_840])
    low: float = Field(description="visible share from which on pairs are meant, 0 to 1", examples=[0.5])
    high: float = Field(description="visible share up to which they are", examples=[0.75])


UNSEEN = "; null: the model does not look at what is covered"


class FaceAnswer(BaseModel):
    """One face of a photograph."""

    box: tuple[float, float, float, float] | None = Field(
        description="left, top, right, bottom in pixels", examples=[(212.5, 96.0, 388.1, 322.7)]
    )
    points: list[tuple[float, float]] = Field(
        description="eyes, nose, mouth corners, in pixels of the photograph",
        examples=[[(257.0, 180.2), (340.3, 178.9), (299.1, 226.4), (264.8, 271.5), (334.0, 270.2)]],
    )
    score: float = Field(description="the detector's, 0 to 1", examples=[0.98])
    visible_share: float | None = Field(
        description=f"share of the face that is visible, 0 to 1{UNSEEN}", examples=[0.57]
    )
    covered: list[str] = Field(description="regions that are known to be covered", examples=[["mouth", "chin"]])
    visibility: list[list[float]] = Field(
        description="map of the aligned face, row by row, 1 = visible",
        examples=[[[1.0, 0.98, 1.0], [0.99, 1.0, 0.97], [0.04, 0.02, 0.05]]],
    )
    remark: str = Field(
        description="how the face was found, what is amiss and what is covered",
        examples=["found (score 0.98), aligned by all five points; 57 % visible, covered: mouth, chin"],
    )
    proves: list[ProofAnswer] = Field(
        description="compared with a wholly visible face, by false accept rate; empty: not measured"
    )


class CompareAnswer(BaseModel):
    """The comparison of two faces."""

    decision: Literal["same", "different", "undecided"] = Field(examples=["same"])
    reason: str = Field(description="why nothing is decided; empty if something is", examples=[""])
    score: float = Field(examples=[0.71])
    decided_by: str = Field(description="score that decides: global, combined or calibrated", examples=["combined"])
    threshold: float | None = Field(description="of that score at this false accept rate", examples=[0.43])
    far: float = Field(examples=[1e-3])
    global_score: float = Field(examples=[0.52])
    local_score: float | None = Field(examples=[0.66])
    log_likelihood_ratio: float | None = Field(
        description="natural logarithm, same person against different people", examples=[5.3]
    )
    ratio_interval: tuple[float | None, float | None] | None = Field(description=INTERVAL, examples=[(4.2, 6.4)])
    visible_share: float | None = Field(
        description=f"share of the face that is visible in both, 0 to 1{UNSEEN}", examples=[0.57]
    )
    expected: ProofAnswer | None = Field(description="what such pairs prove; null: not known")
    faces: list[FaceAnswer]
    picture: str | None = Field(
        description="data address of a PNG: both faces, what is covered, what corresponds",
        examples=["data:image/png;base64,iVBORw0KGgo="],
    )


class DetectAnswer(BaseModel):
    """Faces of one photograph, surest first."""

    width: int = Field(examples=[640])
    height: int = Field(examples=[480])
    found: int = Field(description="faces in the photograph; the first of them are described", examples=[1])
    faces: list[FaceAnswer]


class CandidateAnswer(BaseModel):
    """One person of the gallery."""

    person: str = Field(examples=["Ann Other"])
    key: int = Field(description="number of the face that is meant", examples=[17])
    score: float = Field(examples=[0.71])
    global_score: float = Field(examples=[0.52])
    visible_share: float | None = Field(description=f"visible in both, 0 to 1{UNSEEN}", examples=[0.57])
    log_likelihood_ratio: float | None = Field(examples=[5.3])
    ratio_interval: tuple[float | None, float | None] | None = Field(description=INTERVAL, examples=[(4.2, None)])


class IdentifyAnswer(BaseModel):
    """The people that a face may belong to."""

    decision: Literal["known", "unknown", "undecided"] = Field(examples=["known"])
    reason: str = Field(description="why nothing is decided; empty if something is", examples=[""])
    decided_by: str = Field(examples=["combined"])
    threshold: float | None = Field(examples=[0.43])
    far: float = Field(description="false accept rate of one comparison; a search makes one per face", examples=[1e-3])
    expected: ProofAnswer | None = Field(description="what pairs like probe and best candidate prove; null: not known")
    face: FaceAnswer
    people: list[CandidateAnswer] = Field(description="best first; empty for an empty gallery")
    compared: int = Field(description="faces compared by local evidence", examples=[400])
    faces: int = Field(description="faces of the gallery", examples=[12_304])
    picture: str | None = Field(
        description="data address of a PNG: the face beside the best person's; null: not asked for, the image was not "
        "kept, or the key is no administrator's",
        examples=["data:image/png;base64,iVBORw0KGgo="],
    )


class PersonAnswer(BaseModel):
    """One person of the gallery."""

    name: str = Field(examples=["Ann Other"])
    faces: int = Field(examples=[3])


class QualityAnswer(BaseModel):
    """Measurements of one face."""

    eye_distance: float = Field(description="between the eyes, in pixels of the photograph", examples=[83.2])
    sharpness: float = Field(description="low for blurred and for enlarged faces", examples=[12.4])
    brightness: float = Field(description="median grey level, 0 to 255", examples=[131.0])
    roll: float = Field(description="turn of the eyes' line in degrees, positive: clockwise", examples=[-2.1])
    yaw: float = Field(description="sideways shift of the nose, 0: seen from the front", examples=[0.05])


class GalleryFace(BaseModel):
    """One enrolled face."""

    key: int = Field(examples=[17])
    added: str = Field(examples=["2026-03-01T09:30:00+00:00"])
    remark: str = Field(examples=["found (score 0.98), aligned by all five points; 57 % visible, covered: mouth, chin"])
    kept: bool = Field(description="whether the aligned image is kept", examples=[True])
    score: float | None = Field(description="the detector's, 0 to 1; null: not noted", examples=[0.98])
    box: tuple[float, float, float, float] | None = Field(
        description="left, top, right, bottom in pixels of the photograph; null: not noted, or none seen",
        examples=[(212.5, 96.0, 388.1, 322.7)],
    )
    quality: QualityAnswer | None = Field(description="null: not noted, or no points were seen")


class EnrolAnswer(BaseModel):
    """The result of enrolling a photograph."""

    key: int = Field(description="number of the face", examples=[17])
    added: bool = Field(
        description="false if the person has this photograph already: nothing was changed", examples=[True]
    )


class FacesAnswer(BaseModel):
    """Number of faces that were deleted or moved, or that belong to a renamed person."""

    faces: int = Field(examples=[2])


class ErrorBody(BaseModel):
    """Code and message of an error."""

    code: str = Field(examples=["unusable"])
    message: str = Field(examples=["The image 'photo' shows no face."])


class ProtocolError(BaseModel):
    """An answer of the Open Inference Protocol that is no success."""

    error: str = Field(examples=["The input `images` is missing."])


class ErrorAnswer(BaseModel):
    """The answer to a request that failed."""

    error: ErrorBody
