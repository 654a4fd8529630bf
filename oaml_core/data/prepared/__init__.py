"""Read and write the files of a prepared data set."""

__all__ = [
    "dataset",
    "five_sets",
    "manifest",
    "memfile",
    "niqab",
    "prepared",
    "verification",
    "visibility_set",
    "without_pairs",
]
