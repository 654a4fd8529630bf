"""Say what is wrong with a data set before training starts."""

__all__ = [
    "checks",
    "duplicates",
    "looked_at",
    "report",
    "scan",
]
