"""Change training images: geometry, colour, resolution, and drawn occluders with their visibility maps."""

__all__ = [
    "augmenter",
    "cutouts",
    "occluder_artwork",
    "occlusion",
    "occlusion_transforms",
    "transforms",
]
