"""Judge a model: results, comparison with the model in production, and the promotion gate."""

__all__ = [
    "comparison",
    "evaluate",
    "evaluate_global",
    "gate",
    "metrics_json",
    "own_metrics",
    "results",
    "summary",
]
