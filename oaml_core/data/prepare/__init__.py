"""Turn a source into a prepared data set: checked, packed and fingerprinted."""

__all__ = [
    "forgotten",
    "outbox",
    "packer",
    "prepare",
]
