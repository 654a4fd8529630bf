"""The finding of an evaluation in two sentences and a few headline figures."""

from __future__ import annotations

from collections.abc import Mapping

from oaml_core.evaluation.scoring.conditions import CLEAN
from oaml_core.evaluation.statistics.bootstrap import in_points
from oaml_core.evaluation.verdict.metrics_json import headline
from oaml_core.evaluation.verdict.results import Evaluation


def lead(evaluation: Evaluation) -> str:
    """Return the finding in two sentences, whichever way it went."""
    found = headline(evaluation)
    if "val_accuracy_clean_combined" not in found:
        return _lead_alone(found, evaluation.absent)
    clean = found["val_accuracy_clean_combined"]
    opening = f"On clean pairs the combined score decides {100 * clean:.2f} % rightly."
    if "val_accuracy_occluded_combined" not in found:
        return f"{opening} No occluder was drawn."
    combined, alone = found["val_accuracy_occluded_combined"], found["val_accuracy_occluded_global"]
    return (
        f"{opening} With faces covered it is {100 * combined:.2f} %; the global score alone decides "
        f"{100 * alone:.2f} %. {_paired_difference(evaluation, combined - alone)}"
    )


def _lead_alone(found: Mapping[str, float], absent: str) -> str:
    covered = found.get("val_accuracy_occluded_global")
    drawn = "No occluder was drawn." if covered is None else f"With faces covered it is {100 * covered:.2f} %."
    opening = f"On clean pairs the global score decides {100 * found['val_accuracy_clean_global']:.2f} % rightly."
    return f"{opening} {drawn} {absent}"


def _paired_difference(evaluation: Evaluation, gain: float) -> str:
    """Say whether the combined score's gain under cover is shown, in points with an interval."""
    bounds = _bounds(evaluation)
    if bounds is None:
        return f"The difference is {in_points(gain)[0]} points, without an interval: it is not shown."
    points = in_points(gain, *bounds)
    told = f"{points[0]} points (95 % interval over identities at most {points[1]} … {points[2]})"
    return f"The difference is {told}." if _is_shown(bounds) else f"A difference is not shown: {told}."


def _is_shown(bounds: tuple[float, float] | None) -> bool:
    return bounds is not None and not bounds[0] <= 0 <= bounds[1]


def _bounds(evaluation: Evaluation) -> tuple[float, float] | None:
    """Return the bounds of the combined score's gain under cover; None where a condition has no interval.

    They are means over sets and conditions of the bounds of their paired intervals. A mean varies at most as much as
    its parts do on average, so that the interval of the mean is no wider.
    """
    found = [
        condition.scores["combined"].against_global
        for result in evaluation.sets.values()
        for name, condition in result.conditions.items()
        if name != CLEAN.name
    ]
    intervals = [interval for interval in found if interval is not None]
    if not intervals or len(intervals) < len(found):
        return None
    low, high = (sum(bounds) / len(intervals) for bounds in ([i.low for i in intervals], [i.high for i in intervals]))
    return low, high


def headline_tiles(evaluation: Evaluation) -> str:
    """Return accuracy clean and covered, and the gain over the global score, as headline figures."""
    found = headline(evaluation)
    if "val_accuracy_clean_combined" not in found:
        names = {"clean": "accuracy, clean, global score", "occluded": "accuracy, faces covered, global score"}
        values = {meaning: found.get(f"val_accuracy_{name}_global") for name, meaning in names.items()}
        return "".join(tile(f"{100 * value:.2f} %", text) for text, value in values.items() if value is not None)
    tiles = [tile(f"{100 * found['val_accuracy_clean_combined']:.2f} %", "accuracy, clean, combined score")]
    if "val_accuracy_occluded_combined" in found:
        combined, alone = found["val_accuracy_occluded_combined"], found["val_accuracy_occluded_global"]
        gain = 100 * (combined - alone)
        meaning, kind = "points against the global score, faces covered", "good" if gain > 0 else "bad"
        if not _is_shown(_bounds(evaluation)):  # a figure alone, in a colour, would claim it
            meaning, kind = f"{meaning}: not shown", ""
        tiles += [
            tile(f"{100 * combined:.2f} %", "accuracy, faces covered, combined score"),
            tile(f"{gain:+.2f}".replace("-", "−"), meaning, kind),
            tile(
                f"{100 * found['val_visibility_iou']:.0f} %",
                "overlap (IoU) of covered places, predicted and drawn",
            ),
        ]
    return "".join(tiles)


def tile(value: str, meaning: str, kind: str = "") -> str:
    """Return a headline figure; `kind`: `good`, `bad` or neither."""
    return f'<div class="tile {kind}"><b>{value}</b><span>{meaning}</span></div>'
