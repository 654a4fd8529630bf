"""Compute protocols, curves and intervals from scores."""
