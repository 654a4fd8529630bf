"""The pipeline graph, compiled for a cluster or run on this machine."""
