"""The recogniser: backbone, visibility head, margin heads and matchers."""

__all__ = [
    "backbone",
    "build",
    "class_embeddings",
    "correlation",
    "embedder",
    "features",
    "global_batch",
    "margin",
    "margin_heads",
    "matcher",
    "modes",
    "pooled",
    "pretrained",
    "qaconv",
    "recogniser",
    "sharded_classifier",
    "tensor_archive",
    "transmatcher",
]
