"""The recogniser: backbone, visibility head, margin heads and matchers."""
