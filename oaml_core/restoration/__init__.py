"""A diffusion prior learnt from clean tiles, and posterior sampling that knows how a measurement was made."""

__all__ = [
    "apply",
    "cut_tiles",
    "edm_dataset",
    "evaluate",
    "face_tiles",
    "prior",
    "prior_loss",
    "prior_training",
    "recognition",
    "report",
    "tile_shards",
    "validation",
]
