"""Elastic training: one loop from one CPU process to many GPU nodes, whose workers may come and go."""

__all__ = [
    "agent",
    "checkpoints",
    "compiling",
    "devices",
    "keeper",
    "launcher",
    "loop",
    "precision",
    "resume",
    "trained",
    "worker",
    "worker_entry",
    "world",
]
