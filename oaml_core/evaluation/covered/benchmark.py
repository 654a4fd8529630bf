"""Measure models on covered faces: the same pairs for each, drawn, cut-out and real cover side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import EvaluateConfig
from oaml_core.evaluation.covered.cohort import Images, refuse_known_faces
from oaml_core.evaluation.covered.cover import Cover
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.evaluation.covered.fitness import (
    named_apart,
    refuse_unfit,
    refuse_unmeasurable,
    refuse_without_cover,
    uncovered_alone,
)
from oaml_core.evaluation.covered.judge import Figures, judge
from oaml_core.evaluation.covered.score import Pairs, Scored, describe, draw_pairs, score
from oaml_core.evaluation.scoring.combine import combined_rule, combined_scores
from oaml_core.evaluation.scoring.fuse import evidence_of, fuse
from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.inference.combining import CombinedRule
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.fusion import Fusion
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.strangers import Strangers, deviation
from oaml_core.progress import progress

log = logging.getLogger(__name__)

CLEAN = "clean"
HEADLINE = ("combined", "global")
"""Scores that models are compared by: the first that a model has."""


@dataclass(frozen=True)
class ModelFigures:
    """Figures of one model in the covered benchmark."""

    figures: dict[str, dict[str, Figures]]
    """Figures by condition and score."""
    iou: dict[str, float]
    """IoU of the visibility map by condition; empty for models without maps."""
    against_first: dict[str, Interval] = field(default_factory=dict)
    """TAR of the model's `HEADLINE` score less that of the first model's, by condition."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as they stand in `covered.json`."""
        return {
            "conditions": {
                name: {score: found.as_json() for score, found in scores.items()}
                for name, scores in self.figures.items()
            },
            "visibility_iou": self.iou,
            "against_first": {name: one._asdict() for name, one in self.against_first.items()},
        }


@dataclass(frozen=True)
class Covered:
    """Results of the whole covered benchmark."""

    far: float
    sets: dict[str, dict[str, Any]]
    """Contents by set: `faces`, `people`, `genuine`, `impostors`, `digest`, and `covered_share` by condition; of
    the real set `uncovered` as well: `genuine` and `impostors` of its uncovered pairs."""
    models: dict[str, dict[str, ModelFigures]]
    """Figures by model and set."""

    def as_json(self) -> dict[str, Any]:
        """Return the content of `covered.json`."""
        return {
            "far": self.far,
            "sets": self.sets,
            "models": {
                name: {one: found.as_json() for one, found in sets.items()} for name, sets in self.models.items()
            },
        }


def run_covered(
    models: Mapping[str, Comparer],
    faces: KnownFaces,
    covers: Sequence[Cover],
    config: EvaluateConfig,
    *,
    real: KnownFaces | None = None,
    cohort: Images | None = None,
    far: float = 1e-3,
    impostors: int = 20_000,
) -> Covered:
    """Run the covered benchmark on every model.

    Args:
        models: by name.
        faces: uncovered faces; every one is probe and, covered, gallery.
        covers: what is laid on the gallery's faces.
        config: weights of the combined score for models that store none; weights that differ from the defaults are
            taken for all models that bring no finished rule.
        real: faces of which some were photographed covered; uncovered ones are the probes.
        cohort: faces of strangers, [n, H, W, 3]; None: no score is measured by a cohort.
        far: false accept rate.
        impostors: most impostor pairs per set.

    Raises:
        EvaluationError: the pairs cannot measure the rate, a model takes faces of another size, a set lacks covered or
            uncovered faces, or a face of the cohort is measured. ExportError: a model fails on the first faces.
    """
    faces = uncovered_alone(faces)
    refuse_unfit(models, faces.images)
    if real is not None:
        real = named_apart(real, faces)
        refuse_without_cover(real)
    if cohort is not None:
        refuse_known_faces(cohort, [faces] if real is None else [faces, real])
    every = np.ones(len(faces.images), dtype=np.bool_)
    pairs = draw_pairs(faces, every, every, impostors)
    refuse_unmeasurable(faces, pairs, far, impostors)
    shares: dict[str, float] = {}
    sets = {faces.name: _set(faces, pairs, shares)}
    real_pairs: dict[str, Pairs] = {}
    if real is not None:
        real_pairs = {
            "uncovered": draw_pairs(real, ~real.covered, ~real.covered, impostors),
            "covered in life": draw_pairs(real, ~real.covered, real.covered, impostors),
        }
        for which, chosen in real_pairs.items():
            refuse_unmeasurable(real, chosen, far, impostors, which)
        uncovered = {"uncovered": _counts(real_pairs["uncovered"])}
        sets[real.name] = _set(real, real_pairs["covered in life"], {}) | uncovered
    models_figures: dict[str, dict[str, ModelFigures]] = {}
    for name, model in models.items():
        began = time.perf_counter()
        if cohort is None and getattr(model, "lacks_strangers", False):
            log.warning(
                "%s: its recipe measures combined scores by strangers, whom a checkpoint does not hold. `combined` is "
                "the weighted mean here. Evaluate and export the checkpoint, and give the exported model.",
                name,
            )
        strangers = None if cohort is None else _strangers(name, describe(model, cohort))
        scored, rule, fusion = _drawn(model, faces, covers, pairs, config, strangers)
        shares |= {condition: one.covered_share for condition, one in scored.items()}
        conditions = {condition: (pairs, one.own) for condition, one in scored.items()}
        iou = {condition: one.iou for condition, one in scored.items() if one.iou is not None}
        found = {faces.name: ModelFigures(judge(conditions, CLEAN, far, _people(faces)), iou)}
        if real is not None:
            on_real = _real(model, real, real_pairs, rule, fusion, strangers)
            found[real.name] = ModelFigures(judge(on_real, "uncovered", far, _people(real)), {})
        models_figures[name] = found
        log.info("%s: %d conditions in %.0f s", name, len(conditions), time.perf_counter() - began)
    return Covered(far, sets, _compared(models_figures))


def _strangers(name: str, cohort: FaceRecords) -> Strangers | None:
    """Return the cohort of a model that makes vectors of a face; None, and a line in the log, of other models."""
    if not cohort.local_embedding.size and cohort.local_features.shape[1]:
        log.info(
            "%s compares places of two faces, not one vector of each: no score of it is measured by a cohort.", name
        )
        return None
    return Strangers.of(cohort.embedding, cohort.local_embedding)


def _drawn(
    model: Comparer,
    faces: KnownFaces,
    covers: Sequence[Cover],
    pairs: Pairs,
    config: EvaluateConfig,
    strangers: Strangers | None,
) -> tuple[dict[str, Scored], CombinedRule | None, Fusion | None]:
    """Return scores under every condition, and what was made of them for a model that stores no rule of its own."""
    probes = describe(model, faces.images)
    scored = {CLEAN: score(model, probes, probes, None, None, pairs, strangers)}
    for cover in progress(covers, len(covers), "kinds of cover"):
        # Drawn again for each model, the same to the last pixel: all kinds at once would not fit into memory.
        images, truth = cover.apply(faces)
        gallery = describe(model, images)
        scored[cover.name] = score(model, probes, gallery, cover, truth, pairs, strangers)
    if "local" not in scored[CLEAN].own:
        return {name: replace(one, own=_own_scores(one, None, strangers)) for name, one in scored.items()}, None, None
    clean = scored[CLEAN].pairs
    accuracy = ten_fold_any_range(clean.local_score, pairs.issame).accuracy
    rule = combined_rule(clean, accuracy, _weighted(config, model), strangers, model.local_line)
    held_out = {cover.name: [cover.name] for cover in covers}
    fused = fuse(
        {name: one.pairs for name, one in scored.items()}, pairs.issame, pairs.people, rule.normalisation, held_out
    )
    complete = {}
    for name, one in scored.items():
        own = _own_scores(one, rule, strangers)
        if fused is not None:
            own["refitted"] = fused.scores[name]
        complete[name] = replace(one, own=own)
    return complete, rule, None if fused is None else fused.fusion


def _weighted(config: EvaluateConfig, model: Comparer) -> EvaluateConfig:
    """Return `config` with the weights of a checkpoint's own configuration, unless it names other ones itself."""
    own: tuple[float, float] | None = getattr(model, "weights", None)
    plain = EvaluateConfig()
    named = (config.adaface_weight, config.qaconv_weight) != (plain.adaface_weight, plain.qaconv_weight)
    if own is None or named:
        return config
    return replace(config, adaface_weight=own[0], qaconv_weight=own[1])


def _own_scores(one: Scored, rule: CombinedRule | None, strangers: Strangers | None) -> dict[str, NDArray[np.float64]]:
    """Return a condition's scores: with a cohort the headline score measured by it as `cohort`, and `combined` by the
    rule without the cohort where the model stores none of its own."""
    own, spreads = dict(one.own), one.pairs.spreads
    if strangers is not None and spreads is not None:
        if rule is None:
            own["cohort"] = strangers.measure(one.pairs.global_score, *deviation(spreads, 1.0, 0.0).T)
        else:
            own["cohort"] = combined_scores(rule, one.pairs)
    if rule is not None:
        own.setdefault("combined", combined_scores(replace(rule, strangers=None), one.pairs))
    return own


def _real(
    model: Comparer,
    real: KnownFaces,
    pairs: Mapping[str, Pairs],
    rule: CombinedRule | None,
    fusion: Fusion | None,
    strangers: Strangers | None,
) -> dict[str, tuple[Pairs, Mapping[str, NDArray[np.float64]]]]:
    """Return scores of faces as photographed; rule and fusion are those of the other set's people."""
    records = describe(model, real.images)
    found: dict[str, tuple[Pairs, Mapping[str, NDArray[np.float64]]]] = {}
    for name, chosen in pairs.items():
        one = score(model, records, records, None, None, chosen, strangers)
        own = _own_scores(one, rule, strangers)
        if fusion is not None:
            own["refitted"] = fusion.score(evidence_of(one.pairs))
        found[name] = (chosen, own)
    return found


def _compared(models: Mapping[str, dict[str, ModelFigures]]) -> dict[str, dict[str, ModelFigures]]:
    """Return every model's headline score against the first one's, on the same resamples."""
    first = next(iter(models.values()))
    complete = {}
    for number, (name, sets) in enumerate(models.items()):
        complete[name] = {
            one: ModelFigures(found.figures, found.iou, _differences(found, first[one]) if number else {})
            for one, found in sets.items()
        }
    return complete


def _differences(ours: ModelFigures, theirs: ModelFigures) -> dict[str, Interval]:
    found = {}
    for condition, scores in ours.figures.items():
        one, other = (headline(by_score) for by_score in (scores, theirs.figures[condition]))
        found[condition] = Interval.of(one.tar.difference - other.tar.difference, one.resampled - other.resampled)
    return found


def headline(scores: Mapping[str, Figures]) -> Figures:
    """Return the figures that a model is compared by."""
    return next(scores[name] for name in HEADLINE if name in scores)


def _set(faces: KnownFaces, pairs: Pairs, shares: dict[str, float]) -> dict[str, Any]:
    return {
        "faces": len(faces.images),
        "people": _people(faces),
        **_counts(pairs),
        "digest": faces.digest,
        "covered_share": shares,
    }


def _counts(pairs: Pairs) -> dict[str, int]:
    return {"genuine": int(pairs.issame.sum()), "impostors": int((~pairs.issame).sum())}


def _people(faces: KnownFaces) -> int:
    return int(faces.people.max()) + 1
