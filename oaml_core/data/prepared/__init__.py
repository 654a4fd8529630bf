"""Read and write the files of a prepared data set."""

__all__ = [
    "dataset",
    "fetched_files",
    "five_sets",
    "manifest",
    "memfile",
    "niqab",
    "prepared",
    "streamed_parts",
    "verification",
    "visibility_set",
    "without_pairs",
]
