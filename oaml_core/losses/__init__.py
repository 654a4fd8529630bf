"""What training minimises."""

__all__ = [
    "distillation",
    "finite",
    "pairwise",
    "softmax_triplet",
    "visibility",
]
