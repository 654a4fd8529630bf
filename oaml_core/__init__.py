"""Occlusion-aware face recognition: train, prove, export, retrain."""

__version__ = "0.1.0"
