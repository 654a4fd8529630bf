"""Plan global batches and load them."""

__all__ = [
    "datamodule",
    "graph_sampler",
    "plan",
    "sample_sheet",
    "samplers",
]
