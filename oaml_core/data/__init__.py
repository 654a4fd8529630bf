"""From what people have on disk to batches on the device."""

__all__ = [
    "augment",
    "batches",
    "check",
    "drift",
    "prepare",
    "prepared",
    "sources",
]
