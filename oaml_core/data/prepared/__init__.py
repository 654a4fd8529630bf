"""Read and write the files of a prepared data set."""

__all__ = [
    "dataset",
    "manifest",
    "prepared",
    "verification",
    "visibility_set",
]
