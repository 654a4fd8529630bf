"""Drawings of things that cover faces: outlines from random splines, materials, folds, straps and reflections."""

__all__ = [
    "canvas",
    "eyewear",
    "fabrics",
    "head",
    "held",
    "masks",
    "materials",
]
