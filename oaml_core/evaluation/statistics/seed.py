"""The seed of everything that evaluation draws; on its own, so that comparing stored scores needs no torch."""

SEED = 20_260_101
"""Seed of all drawn test conditions. Changing it makes results incomparable with earlier ones."""
