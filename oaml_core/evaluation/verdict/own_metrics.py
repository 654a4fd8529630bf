"""Metrics that `register_metric` names, computed from the scores of pairs.

Those of OAML's own stand here, with that decorator; other packages bring theirs as plugins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ConfigError
from oaml_core.registry import METRICS


def own_metrics(scores: NDArray[np.float64], issame: NDArray[np.bool_]) -> dict[str, float | None]:
    """Compute every registered metric.

    Args:
        scores: [N], larger for more alike faces.
        issame: [N], True for two faces of one person.

    Returns:
        Value by name; None where a metric is not finite.

    Raises:
        ConfigError: a metric fails, or gives something else than a number.
    """
    return {name: _value(name, METRICS.get(name), scores, issame) for name in METRICS.names()}


def _value(name: str, metric: Any, scores: NDArray[np.float64], issame: NDArray[np.bool_]) -> float | None:
    try:
        value = float(metric(scores, issame))
    except Exception as error:
        raise ConfigError(
            f"The metric {name!r} of {metric.__module__} fails: {error!r}. Mend it, or uninstall its package."
        ) from error
    return value if math.isfinite(value) else None
