"""Read image files and encoded images: the one decoder of training, evaluation, inference and restoration."""

__all__ = [
    "decode",
    "files",
    "formats",
    "header",
]
