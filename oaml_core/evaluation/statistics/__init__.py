"""Compute protocols, curves and intervals from scores."""

__all__ = [
    "all_pairs",
    "binned",
    "bootstrap",
    "identification",
    "one_threshold",
    "protocols",
    "published_rates",
    "roc",
    "seed",
]
