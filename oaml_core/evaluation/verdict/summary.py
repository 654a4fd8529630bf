"""A page of Markdown from `metrics.json`: what a pipeline's dashboard and a terminal show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oaml_core.amounts import amount
from oaml_core.data.sources.verification import folds_of
from oaml_core.evaluation.statistics.bootstrap import in_points

SHOWN = ("global", "local", "combined")


def markdown(metrics: Mapping[str, Any]) -> str:
    """Return accuracies and TAR by set and condition, and the comparison with the champion.

    Args:
        metrics: content of `metrics.json`.
    """
    parts = [line for name, found in metrics["sets"].items() for line in _set_lines(name, found)]
    return "\n".join([*parts, *_comparison_lines(metrics["comparison"])]).strip() + "\n"


def _set_lines(name: str, found: Mapping[str, Any]) -> Iterable[str]:
    yield f"## {name}: {amount(found['pairs'], 'pair')}"
    yield ""
    shown = _shown(found)
    gains = "; gain of the combined over the global score" if len(shown) > 1 else ""
    yield f"{folds_of(found['pairs'])}-fold accuracy in %, with the 95 % interval over identities{gains}."
    yield ""
    columns = ["condition", "covered", *shown, *(["gain"] if gains else [])]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for condition, result in found["conditions"].items():
        cells = [condition, f"{100 * result['covered_share']:.0f} %"]
        cells += [_accuracy(result["scores"][score]) for score in shown]
        if gains:
            cells.append(_points(result["scores"]["combined"]["against_global"]))
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield from _tar_lines(found)


def _shown(found: Mapping[str, Any]) -> list[str]:
    """Names of the scores that a set has."""
    return [score for score in SHOWN if score in found["conditions"]["clean"]["scores"]]


def _accuracy(score: Mapping[str, Any]) -> str:
    low, high = score["accuracy_interval"]
    return f"{100 * score['accuracy']:.2f} ({100 * low:.2f} … {100 * high:.2f})"


def _tar_lines(found: Mapping[str, Any]) -> Iterable[str]:
    score = _shown(found)[-1]
    clean = found["conditions"]["clean"]["scores"][score]["tar_at_far"]
    rates = [index for index, point in enumerate(clean) if point["measurable"]]
    if not rates:
        return
    yield f"TAR of the {score} score in %, at the false accept rates that the pairs can measure."
    yield ""
    yield "| condition | " + " | ".join(f"{clean[index]['far']:g}" for index in rates) + " |"
    yield "|---" * (len(rates) + 1) + "|"
    for condition, result in found["conditions"].items():
        points = result["scores"][score]["tar_at_far"]
        yield f"| {condition} | " + " | ".join(f"{100 * points[index]['tar']:.2f}" for index in rates) + " |"
    yield ""
    yield from _one_threshold_lines(found)


def _one_threshold_lines(found: Mapping[str, Any]) -> Iterable[str]:
    """Yield TAR and real FAR at the threshold of the clean pairs, at the lowest rate that they measure."""
    shown = _shown(found)
    clean = found["conditions"]["clean"]["scores"][shown[-1]].get("at_one_threshold", [])
    rates = [point["far"] for point in clean if point["set_on"] == "clean"]
    if not rates:
        return
    rate = min(rates)
    yield f"TAR and real FAR in % at one threshold, set on the clean pairs for FAR {rate:g}."
    yield ""
    yield "| condition | " + " | ".join(f"{score}: TAR | real FAR" for score in shown) + " |"
    yield "|---" * (2 * len(shown) + 1) + "|"
    for condition, result in found["conditions"].items():
        cells = [_at_rate(result["scores"][score]["at_one_threshold"], rate) for score in shown]
        yield f"| {condition} | {' | '.join(cells)} |"
    yield ""


def _at_rate(points: Iterable[Mapping[str, Any]], rate: float) -> str:
    one = next(point for point in points if point["set_on"] == "clean" and point["far"] == rate)
    low, high = one["real_far_interval"]
    return f"{100 * one['tar']:.2f} | {100 * one['real_far']:.2f} ({100 * low:.2f} … {100 * high:.2f})"


def _comparison_lines(comparison: Mapping[str, Any] | None) -> Iterable[str]:
    if comparison is None:
        return
    yield f"## Against {comparison['champion']}"
    yield ""
    yield from comparison_table(comparison)
    for one in comparison["incomparable"]:
        where = "/".join(filter(None, (one["set"], one["condition"])))
        yield f"- not compared: {where}: {one['reason']}"


def comparison_table(comparison: Mapping[str, Any]) -> Iterable[str]:
    """Yield lines of a Markdown table of `Comparison.as_json`."""
    if not comparison["differences"]:
        yield "There is nothing that both were measured on."
        return
    yield (
        "| set | condition | score | champion | challenger | difference | right alone: challenger, champion | "
        "McNemar p | verdict |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in comparison["differences"]:
        yield (
            f"| {one['set']} | {one['condition']} | {one['score']} | {100 * one['champion']:.2f} | "
            f"{100 * one['challenger']:.2f} | {_points(one)} | {one['challenger_alone']}, {one['champion_alone']} | "
            f"{one['p_value']:.3g} | {one['verdict']} |"
        )
    yield ""
    yield f"Intervals and verdicts at the {100 * comparison['level']:g} % level."


def _points(interval: Mapping[str, float]) -> str:
    """Difference in points of %, with its interval."""
    found = in_points(interval["difference"], interval["low"], interval["high"])
    return f"{found[0]} ({found[1]} … {found[2]})"
