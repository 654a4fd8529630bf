"""What the service answers, as its OpenAPI description shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ProofAnswer(BaseModel):
    """Share of pairs of one person that the model's evaluation accepted, among those that show as much of the face."""

    far: float = Field(description="false accept rate of the threshold")
    tar: float = Field(description="share of them that is accepted, 0 to 1")
    interval: tuple[float, float] = Field(description="95 % interval of that, over people")
    pairs: int = Field(description="pairs that were measured")
    low: float = Field(description="visible share from which on pairs are meant, 0 to 1")
    high: float = Field(description="visible share up to which they are")


class FaceAnswer(BaseModel):
    """One face of a photograph."""

    box: tuple[float, float, float, float] | None = Field(description="left, top, right, bottom in pixels")
    points: list[tuple[float, float]] = Field(description="eyes, nose, mouth corners, in pixels of the photograph")
    score: float = Field(description="the detector's, 0 to 1")
    visible_share: float = Field(description="share of the face that is visible, 0 to 1")
    covered: list[str] = Field(description="regions that are covered")
    visibility: list[list[float]] = Field(description="map of the aligned face, row by row, 1 = visible")
    remark: str = Field(description="how the face was found, what is amiss and what is covered")
    proves: list[ProofAnswer] = Field(
        description="compared with a wholly visible face, by false accept rate; empty: not measured"
    )


class CompareAnswer(BaseModel):
    """The comparison of two faces."""

    decision: Literal["same", "different", "undecided"]
    reason: str = Field(description="why nothing is decided; empty if something is")
    score: float
    decided_by: str = Field(description="score that decides: global, combined or calibrated")
    threshold: float | None = Field(description="of that score at this false accept rate")
    far: float
    global_score: float
    local_score: float | None
    log_likelihood_ratio: float | None = Field(description="natural logarithm, same person against different people")
    visible_share: float = Field(description="share of the face that is visible in both, 0 to 1")
    expected: ProofAnswer | None = Field(description="what such pairs prove; null: not known")
    faces: list[FaceAnswer]
    picture: str | None = Field(description="data address of a PNG: both faces, what is covered, what corresponds")


class DetectAnswer(BaseModel):
    """Faces of one photograph, surest first."""

    width: int
    height: int
    found: int = Field(description="faces in the photograph; the first of them are described")
    faces: list[FaceAnswer]


class CandidateAnswer(BaseModel):
    """One person of the gallery."""

    person: str
    key: int = Field(description="number of the face that is meant")
    score: float
    global_score: float
    visible_share: float
    log_likelihood_ratio: float | None


class IdentifyAnswer(BaseModel):
    """The people that a face may belong to."""

    decision: Literal["known", "unknown", "undecided"]
    reason: str = Field(description="why nothing is decided; empty if something is")
    decided_by: str
    threshold: float | None
    far: float = Field(description="false accept rate of one comparison; a search makes one per face")
    expected: ProofAnswer | None = Field(description="what pairs like probe and best candidate prove; null: not known")
    face: FaceAnswer
    people: list[CandidateAnswer] = Field(description="best first; empty for an empty gallery")
    compared: int = Field(description="faces compared by local evidence")
    faces: int = Field(description="faces of the gallery")


class PersonAnswer(BaseModel):
    """One person of the gallery."""

    name: str
    faces: int


class GalleryFace(BaseModel):
    """One enrolled face."""

    key: int
    added: str
    remark: str
    kept: bool = Field(description="whether the aligned image is kept")


class EnrolAnswer(BaseModel):
    """The result of enrolling a photograph."""

    key: int = Field(description="number of the face")
    added: bool = Field(description="false if the person has this photograph already: nothing was changed")


class DeleteAnswer(BaseModel):
    """Number of faces that were deleted, were moved, or belong to a renamed person."""

    faces: int


class ErrorBody(BaseModel):
    """Code and message of an error."""

    code: str
    message: str


class ProtocolError(BaseModel):
    """An answer of the Open Inference Protocol that is no success."""

    error: str


class ErrorAnswer(BaseModel):
    """The answer to a request that failed."""

    error: ErrorBody
