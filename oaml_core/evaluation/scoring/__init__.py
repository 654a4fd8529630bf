"""Score pairs of faces under every condition."""

__all__ = [
    "combine",
    "compared_pair",
    "conditions",
    "face_features",
    "face_store",
    "fuse",
    "global_alone",
    "identities",
    "score_parts",
    "scores",
    "shard",
    "shard_parts",
    "stored",
    "stranger_faces",
]
