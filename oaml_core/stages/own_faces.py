"""A checkpoint and a folder of one's own faces → what the model can do on them, as local files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from oaml_core.config import Config
from oaml_core.errors import DataError, EvaluationError
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.settings import digest
from oaml_core.stages.addresses import fetch_file
from oaml_core.stages.evaluate_stage import provenance
from oaml_core.stages.evaluation_inputs import METRICS, REPORT, best_device
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from oaml_core.data.prepared.verification import VerificationSet
    from oaml_core.data.sources.base import SourceFolder, TrainingSource
    from oaml_core.training.trained import TrainedModel

log = logging.getLogger(__name__)

SUMMARY, MATRICES, PICTURE = "summary.txt", "similarity.npz", "similarity.png"


@dataclass(frozen=True)
class OwnFaces:
    """The result of `evaluate_own_faces`."""

    folder: Path
    """Folder of the files."""
    summary: str
    """The figures as text."""
    written: list[Path]


def evaluate_own_faces(config: Config, source: str, checkpoint_uri: str) -> OwnFaces:
    """Measure a model on a folder of identities, on the pair lists and `.bin` sets in it, or on one pair list.

    Args:
        config: its `evaluate` section.
        source: a folder or `s3://` prefix with one folder per identity, or a pair list (`.csv`).
        checkpoint_uri: the model.

    Raises:
        DataError: the source holds neither. EvaluationError: it has no genuine or no impostor pairs.
    """
    from oaml_core.data.sources.base import open_folder
    from oaml_core.data.sources.verification import find_verification
    from oaml_core.training.trained import load_trained

    keep_freed_memory()
    checkpoint = fetch_file(config, checkpoint_uri)
    trained = load_trained(checkpoint)
    config = replace(config, model=trained.config.model, data=trained.config.data)
    path = PurePosixPath(source)
    beside = source if path.suffix != ".csv" else source[: -len(path.name)] or "."
    inside = open_folder(beside, _scratch(config), key="--faces")
    out = Path(config.work_dir) / "own" / f"{path.stem}-{digest(config.evaluate, source, sha256_of(checkpoint))}"
    out.mkdir(parents=True, exist_ok=True)
    sets = {path.stem.removesuffix("_pairs"): path.name} if path.suffix == ".csv" else find_verification(inside)
    people = None if path.suffix == ".csv" else _identities(inside, config, needed=not sets)
    context = {"source": source, "checkpoint": checkpoint_uri, "step": trained.step, **provenance(config)}
    texts, written = [], []
    if people is not None:
        made = _all_pairs(trained, people, config, context, out)
        texts.append(made.summary)
        written += made.written
    if sets:
        made = _pairs(trained, inside, sets, config, context, out / "pairs" if people is not None else out)
        texts.append(made.summary)
        written += made.written
    return OwnFaces(out, "\n".join(texts), written)


def _scratch(config: Config) -> Path:
    return Path(config.work_dir) / "indices"


def _identities(folder: SourceFolder, config: Config, *, needed: bool) -> TrainingSource | None:
    """Return the folder's images and who they show; None if it has none beside its pair lists, and they are not
    `needed`.
    """
    from oaml_core.data.sources.inputs import open_training

    try:
        return open_training(folder, _scratch(config))
    except DataError as error:
        if not needed:
            log.info("evaluate: pair lists alone: %s", error)
            return None
        raise DataError(
            f"{folder.uri} holds neither one folder per identity nor a pair list (<name>_pairs.csv with the columns "
            f"first, second, same) nor a .bin set: {error}"
        ) from error


def _all_pairs(
    trained: TrainedModel, source: TrainingSource, config: Config, context: Mapping[str, Any], out: Path
) -> OwnFaces:
    from oaml_core.evaluation.own_faces.folder import evaluate_folder
    from oaml_core.evaluation.own_faces.folder_output import folder_text, save_matrices, save_picture
    from oaml_core.evaluation.scoring.face_store import described
    from oaml_core.evaluation.verdict.metrics_json import SCHEMA, write_json

    readable, set_aside = _readable(source, config)
    device = best_device()
    names, labels = [source.name(index) for index in readable], source.labels[readable]
    with described(
        trained.recogniser.to(device),
        (_decoded(source, index, config) for index in readable),
        len(readable),
        device,
        out,
        config.evaluate.batch_size,
    ) as faces:
        result = evaluate_folder(faces, names, labels, config.evaluate)
    people = [source.identity_name(label) for label in labels]
    text = folder_text(result, set_aside)
    written = [out / METRICS, out / SUMMARY]
    write_json(
        {"schema": SCHEMA, "folder": result.as_json(), "set_aside": set_aside, "context": dict(context)}, written[0]
    )
    written[1].write_text(text, encoding="utf-8")
    if result.matrices is not None:
        written += [save_matrices(result, people, out / MATRICES), save_picture(result, out / PICTURE)]
    return OwnFaces(out, text, written)


def _readable(source: TrainingSource, config: Config) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Return numbers of the images that can be decoded, and the others with the reason."""
    readable, set_aside = [], []
    for index in range(len(source)):
        try:
            _decoded(source, index, config)
            readable.append(index)
        except DataError as error:
            set_aside.append({"image": source.name(index), "reason": str(error)})
    if not readable:
        raise EvaluationError(f"None of {len(source)} images can be read; the first: {set_aside[0]['reason']}.")
    return np.array(readable), set_aside


def _decoded(source: TrainingSource, index: int, config: Config) -> np.ndarray:
    from oaml_core.decoding.decode import decode_image, fit_square

    return fit_square(decode_image(source.read(index), config.data.channel_order), config.data.image_size)


def _pairs(
    trained: TrainedModel,
    folder: SourceFolder,
    files: Mapping[str, str],
    config: Config,
    context: Mapping[str, Any],
    out: Path,
) -> OwnFaces:
    from oaml_core.evaluation.report.report import write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.verdict.evaluate import evaluate_model
    from oaml_core.evaluation.verdict.metrics_json import metrics, write_metrics
    from oaml_core.evaluation.verdict.summary import markdown

    out.mkdir(parents=True, exist_ok=True)
    sets = dict(open_sets(folder, files, config, out / "images"))
    evaluation = evaluate_model(trained.recogniser.to(best_device()), sets, config, best_device())
    written = [out / REPORT, out / METRICS, out / SCORES_FILE, out / SUMMARY]
    write_report(evaluation, written[0], context, title=", ".join(files), images=config.evaluate.pictures > 0)
    write_metrics(evaluation, written[1], context)
    write_scores(evaluation, written[2])
    text = markdown(metrics(evaluation))
    written[3].write_text(text, encoding="utf-8")
    return OwnFaces(out, text, written)


def open_sets(
    folder: SourceFolder, files: Mapping[str, str], config: Config, images: Path
) -> Iterator[tuple[str, VerificationSet]]:
    """Yield verification sets by name, opened as they lie in a source.

    Args:
        folder: the source.
        files: file of each set, by the set's name.
        config: its `data` says how images are read.
        images: local folder to write the decoded images to.
    """
    from oaml_core.data.prepared.verification import open_verification, write_verification
    from oaml_core.data.sources.verification import open_verification_source

    for name, file in files.items():
        source = open_verification_source(folder, name, file)
        write_verification(source, images, image_size=config.data.image_size, channel_order=config.data.channel_order)
        yield name, open_verification(images, name)
