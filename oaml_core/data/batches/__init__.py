"""Plan global batches and load them."""

__all__ = [
    "datamodule",
    "decoding",
    "graph_sampler",
    "occluder_sheet",
    "parts_ahead",
    "plan",
    "sample_sheet",
    "samplers",
    "training_faces",
]
