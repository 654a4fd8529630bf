"""Templates of several images, as IJB-B and IJB-C compare and search them, pooled and judged as published."""

__all__ = [
    "benchmark",
    "lists",
    "shards",
    "tables",
]
