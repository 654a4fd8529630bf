"""Compute protocols, curves and intervals from scores."""

__all__ = [
    "all_pairs",
    "bootstrap",
    "identification",
    "one_threshold",
    "protocols",
    "published_rates",
    "roc",
    "seed",
]
