"""The metadata of an exported model: read once, and checked before anything relies on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from oaml_core.errors import ExportError
from oaml_core.inference.fusion import Fusion
from oaml_core.inference.strangers import Strangers
from oaml_core.structured_text import check_types, parse_json

REMEDY = "Export the model again."
MOST_PIXELS = 4096
"""Longest side of a model's input."""
TYPES = {
    "thresholds": dict,
    "by_visible_share": dict,
    "combined": dict | None,
    "strangers": dict | None,
    "fusion": dict | None,
    "local_score": dict | None,
    "decision": str | None,
    "config": dict,
    "tar": dict,
    "images_per_second": float | None,
}
NORMALISATION = {"global_mean": float, "global_std": float, "local_mean": float, "local_std": float}
LOCAL_SCORE = {"scale": float, "shift": float}
COMBINED = {"normalisation": dict, "global_weight": float, "local_weight": float}


def read_model_metadata(text: str | bytes, path: object, needs: Iterable[str] = ()) -> dict[str, Any]:
    """Return what `oaml export` stored in a model, with the types that its readers expect.

    Args:
        text: JSON of the model's entry `oaml`.
        path: of the model, for messages.
        needs: keys that the reader cannot do without.

    Raises:
        ExportError: it is damaged, lacks a key, or a value cannot be what it is meant to be; the key is named.
    """
    what = f"The metadata of {path}"
    found = parse_json(text, what, REMEDY, ExportError, needs)
    check_types(found, TYPES, what, REMEDY, ExportError)
    size = found.get("image_size", 1)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= MOST_PIXELS:
        raise ExportError(f"{what} is damaged: image_size is {str(size)[:40]}, no side in pixels. {REMEDY}")
    for score, thresholds in found.get("thresholds", {}).items():
        if not (
            isinstance(thresholds, dict) and all(_is_rate(rate) and _is_number(v) for rate, v in thresholds.items())
        ):
            raise ExportError(
                f"{what} is damaged: thresholds.{score} does not give a number per false accept rate. {REMEDY}"
            )
    for score, bands in found.get("by_visible_share", {}).items():
        if not (isinstance(bands, list) and all(isinstance(band, dict) for band in bands)):
            raise ExportError(f"{what} is damaged: by_visible_share.{score} is no list of objects. {REMEDY}")
    if (rule := found.get("combined")) is not None:
        _check_numbers(rule, COMBINED, f"{what}, combined,")
        _check_numbers(rule["normalisation"], NORMALISATION, f"{what}, combined.normalisation,")
    if (line := found.get("local_score")) is not None:
        _check_numbers(line, LOCAL_SCORE, f"{what}, local_score,")
    if (strangers := found.get("strangers")) is not None:
        _check_strangers(strangers, f"{what}, strangers,")
    if (fusion := found.get("fusion")) is not None:
        _check_fusion(fusion, f"{what}, fusion,")
    return found


def _check_numbers(found: dict[str, Any], types: Mapping[str, type], what: str) -> None:
    missing = [key for key in types if key not in found]
    if missing:
        raise ExportError(f"{what} is damaged: it lacks {', '.join(missing)}. {REMEDY}")
    check_types(found, types, what, REMEDY, ExportError)
    strange = [key for key, kind in types.items() if kind is float and not math.isfinite(found[key])]
    if strange:
        raise ExportError(f"{what} is damaged: {strange[0]} is not finite. {REMEDY}")


def _check_strangers(content: dict[str, Any], what: str) -> None:
    try:
        Strangers.stored(content)
    except ValueError as error:
        raise ExportError(f"{what} is damaged: {error}. {REMEDY}") from None


def _check_fusion(content: dict[str, Any], what: str) -> None:
    try:
        Fusion.stored(content)
    except (TypeError, ValueError) as error:
        raise ExportError(f"{what} is damaged: {error}. {REMEDY}") from None
    values = [one for value in content.values() for one in (value if isinstance(value, list) else [value])]
    if not all(map(_is_number, values)):
        raise ExportError(f"{what} is damaged: a weight is no finite number. {REMEDY}")


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False
