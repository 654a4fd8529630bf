"""Read and write the files of a prepared data set."""

__all__ = [
    "dataset",
    "manifest",
    "memfile",
    "prepared",
    "verification",
    "visibility_set",
    "without_pairs",
]
