"""Change training images: geometry, colour, resolution, and drawn occluders with their visibility maps."""

__all__ = [
    "augmenter",
    "cutouts",
    "geometry",
    "occluder_artwork",
    "occlusion",
    "occlusion_transforms",
    "transforms",
]
