"""Plan global batches and load them."""
