"""Evaluate a model on a folder of one's own faces."""

__all__ = [
    "checkpoint_comparer",
    "compare_matchers",
    "descriptions",
    "folder",
    "folder_output",
    "shards",
]
