"""The combined score by the rule that is stored in an exported model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def combine(
    rule: Mapping[str, Any] | None, global_score: NDArray[np.float64], local_score: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Return the weighted mean of both scores, each brought to mean 0 and deviation 1 first; None without a rule.

    Args:
        rule: `normalisation`, `global_weight` and `local_weight`; None: the model came without metrics.
        global_score: of n pairs.
        local_score: of the same pairs; None without a matcher.
    """
    if rule is None or local_score is None:
        return None
    n = rule["normalisation"]
    normalised_global = (global_score - n["global_mean"]) / n["global_std"]
    normalised_local = (local_score - n["local_mean"]) / n["local_std"]
    total = rule["global_weight"] + rule["local_weight"]
    result: NDArray[np.float64] = (
        rule["global_weight"] * normalised_global + rule["local_weight"] * normalised_local
    ) / total
    return result
