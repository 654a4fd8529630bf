"""Faces as a service: compare, identify, detect and a gallery over HTTP, and one page to try them; never torch."""

__all__ = [
    "app",
    "faces",
    "generations",
    "keys",
    "limits",
    "model_source",
    "server",
    "trial",
]
