"""Score pairs of faces under every condition."""

__all__ = [
    "combine",
    "compared_pair",
    "conditions",
    "face_store",
    "fuse",
    "identities",
    "scores",
    "stored",
]
