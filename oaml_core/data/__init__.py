"""From what people have on disk to batches on the device."""
