"""Say what is wrong with a data set before training starts."""

__all__ = [
    "checks",
    "report",
    "scan",
]
