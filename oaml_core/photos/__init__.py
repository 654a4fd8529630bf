"""Find, align and judge the faces of ordinary photographs: numpy, Pillow and onnxruntime, never torch.

from oaml_core.photos.faces import FaceFinder

face = FaceFinder().main_face("holiday.jpg")  # face.image: uint8 [112, 112, 3], face.points: where the eyes were
"""

__all__ = [
    "alignment",
    "collection",
    "detection",
    "detectors",
    "faces",
    "files",
    "photo_face",
    "quality",
    "recipe",
    "search",
    "yunet",
]
