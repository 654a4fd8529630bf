"""Score pairs of faces under every condition."""
