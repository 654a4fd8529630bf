"""Proof: scores of pairs, published protocols, conditions with occluders, and the report of all of it."""
