"""Change training images: geometry, colour, resolution, and drawn occluders with their visibility maps."""
