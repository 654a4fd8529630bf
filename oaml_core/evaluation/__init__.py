"""Proof: scores of pairs, published protocols, conditions with occluders, and the report of all of it."""

__all__ = [
    "covered",
    "own_faces",
    "report",
    "scoring",
    "statistics",
    "templates",
    "verdict",
]
