"""Turn a source into a prepared data set: checked, packed and fingerprinted."""

__all__ = [
    "finished",
    "forgotten",
    "outbox",
    "packer",
    "prepare",
    "shard_files",
    "shard_merge",
    "shard_plan",
    "shards",
]
