"""The benchmark of covered faces: any recogniser, the same pairs, drawn, cut-out and real cover side by side."""

__all__ = [
    "benchmark",
    "cohort",
    "cover",
    "faces",
    "tables",
]
