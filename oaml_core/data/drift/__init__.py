"""Say whether the faces of one data set look like those of another."""

__all__ = [
    "comparison",
    "measures",
    "sampling",
]
