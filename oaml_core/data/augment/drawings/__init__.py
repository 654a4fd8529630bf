"""Drawings of things that cover faces: outlines from random splines, materials, folds, straps and reflections."""
