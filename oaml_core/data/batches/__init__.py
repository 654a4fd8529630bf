"""Plan global batches and load them."""

__all__ = [
    "datamodule",
    "decoding",
    "graph_sampler",
    "occluder_sheet",
    "plan",
    "sample_sheet",
    "samplers",
    "training_faces",
]
