"""Read faces, verification sets and masks in the formats that users have."""

__all__ = [
    "aligned",
    "base",
    "drawn_people",
    "image_folder",
    "inputs",
    "inventory",
    "listing",
    "listing_file",
    "meta",
    "picked",
    "recordio",
    "repeated_pairs",
    "sample_faces",
    "synthetic",
    "synthetic_faces",
    "training_source",
    "verification",
    "verification_files",
    "verification_source",
    "visibility",
]
