"""A checkpoint and a folder of one's own faces → what the model can do on them, as local files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.stages.addresses import announce
from oaml_core.stages.evaluate_stage import provenance
from oaml_core.stages.evaluation_inputs import METRICS, REPORT, best_device
from oaml_core.stages.own_faces_inputs import OwnFacesInputs

if TYPE_CHECKING:
    from oaml_core.evaluation.own_faces.folder import FolderResult
    from oaml_core.stages.evaluate_shards import MergedScores

SUMMARY, MATRICES, PICTURE = "summary.txt", "similarity.npz", "similarity.png"


@dataclass(frozen=True)
class OwnFaces:
    """The result of `evaluate_own_faces`."""

    folder: Path
    """Folder of the files."""
    summary: str
    """The figures as text."""
    written: list[Path]


def evaluate_own_faces(
    config: Config, source: str, checkpoint_uri: str, *, shards: int | None = None, only_merge: bool = False
) -> OwnFaces:
    """Measure a model on a folder of identities, on the pair lists and `.bin` sets in it, or on one pair list.

    Args:
        config: its `evaluate` section; `store` where the work is shared out.
        source: a folder or `s3://` prefix with one folder per identity, or a pair list (`.csv`).
        checkpoint_uri: the model.
        shards: number of shards that pairs are compared in, see `evaluate_own_faces_shard`; those that are missing are
            made here, one after another. The results are the same. None: all at once.
        only_merge: make no shard here.

    Raises:
        DataError: the source holds neither. EvaluationError: it has no genuine or no impostor pairs, or shards are
            missing or of something else. ConfigError: the number of shards is below 1.
    """
    keep_freed_memory()
    inputs = OwnFacesInputs.open(config, source, checkpoint_uri)
    inputs.out.mkdir(parents=True, exist_ok=True)
    context = {
        "source": source,
        "checkpoint": checkpoint_uri,
        "step": inputs.trained.step,
        **provenance(inputs.config),
    }
    made, parts = [], []
    if inputs.people is not None:
        if shards is None:
            made.append(_all_pairs(inputs, _compared(inputs), context))
        else:
            shared = inputs.shared_folder(shards)
            result, devices = shared.result(make_missing=not only_merge)
            made.append(_all_pairs(inputs, result, context | {"device": ", ".join(sorted(devices))}))
            parts.append(shared.parts)
    if inputs.files:
        if shards is None:
            made.append(_pairs(inputs, None, context))
        else:
            scoring = inputs.shared_pairs(shards)
            merged = scoring.merged(only_merge=only_merge)
            made.append(_pairs(inputs, merged, context | {"device": merged.devices}))
            parts.append(scoring.parts)
    for each in parts:
        each.remove()
    return OwnFaces(inputs.out, "\n".join(one.summary for one in made), [path for one in made for path in one.written])


def evaluate_own_faces_shard(config: Config, source: str, checkpoint_uri: str, shard: str) -> bool:
    """Compare the faces of one shard, and score its pairs of every list, unless that was done before.

    Args:
        config, source, checkpoint_uri: as of `evaluate_own_faces`; what is found goes into `store`.
        shard: number and count, `0/3` to `2/3`.

    Returns:
        True if there was something left to do.

    Raises:
        ConfigError: it is no shard. For others see `evaluate_own_faces`.
    """
    from oaml_core.evaluation.scoring.shard import EvaluationShard

    keep_freed_memory()
    chosen = EvaluationShard.parse(shard)
    inputs, made = OwnFacesInputs.open(config, source, checkpoint_uri), False
    if inputs.people is not None:
        shared = inputs.shared_folder(chosen.of)
        made = shared.make([chosen])
        announce("evaluate-shard", f"shard {shard}: {shared.share(chosen)}", shared.parts.url, not made)
    if inputs.files:
        scoring = inputs.shared_pairs(chosen.of)
        scored = scoring.score(chosen)
        rows = [chosen.pairs(len(pairs)) for pairs in inputs.sets.values()]
        told = f"shard {shard}: {amount(sum(some.stop - some.start for some in rows), 'pair')} of lists"
        announce("evaluate-shard", told, scoring.parts.url, not scored)
        made = made or scored
    return made


def _compared(inputs: OwnFacesInputs) -> FolderResult:
    from oaml_core.evaluation.own_faces.folder import evaluate_folder

    readable = inputs.faces
    with inputs.described() as faces:
        return evaluate_folder(faces, readable.names, readable.identities, inputs.config.evaluate)


def _all_pairs(inputs: OwnFacesInputs, result: FolderResult, context: Mapping[str, Any]) -> OwnFaces:
    from oaml_core.evaluation.own_faces.folder_output import folder_text, save_matrices, save_picture
    from oaml_core.evaluation.report.report import write_page
    from oaml_core.evaluation.verdict.metrics_json import SCHEMA, write_json

    assert inputs.people is not None
    out, readable = inputs.out, inputs.faces
    people = [inputs.people.identity_name(label) for label in readable.identities]
    text = folder_text(result, readable.set_aside)
    written = [out / METRICS, out / SUMMARY]
    found = {"schema": SCHEMA, "folder": result.as_json(), "set_aside": readable.set_aside, "context": dict(context)}
    write_json(found, written[0])
    write_page(text, written[1])
    if result.matrices is not None:
        written += [save_matrices(result, people, readable.sha256, out / MATRICES), save_picture(result, out / PICTURE)]
    return OwnFaces(out, text, written)


def _pairs(inputs: OwnFacesInputs, merged: MergedScores | None, context: Mapping[str, Any]) -> OwnFaces:
    from oaml_core.evaluation.report.report import write_page, write_report
    from oaml_core.evaluation.scoring.stored import SCORES_FILE, write_scores
    from oaml_core.evaluation.verdict.evaluate import evaluate_model
    from oaml_core.evaluation.verdict.metrics_json import metrics, write_metrics
    from oaml_core.evaluation.verdict.summary import markdown

    config, out = inputs.config, inputs.out_of_pairs
    out.mkdir(parents=True, exist_ok=True)
    scored = None if merged is None else merged.sets
    evaluation = evaluate_model(inputs.trained.recogniser, inputs.sets, config, best_device(), scored=scored)
    written = [out / REPORT, out / METRICS, out / SCORES_FILE, out / SUMMARY]
    pictures = config.evaluate.pictures > 0
    write_report(evaluation, written[0], context, title=", ".join(inputs.files), images=pictures)
    write_metrics(evaluation, written[1], context)
    write_scores(evaluation, written[2])
    text = markdown(metrics(evaluation))
    write_page(text, written[3])
    return OwnFaces(out, text, written)
