"""Evaluate a model on a folder of one's own faces."""
