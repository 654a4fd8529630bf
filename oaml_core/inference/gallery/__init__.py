"""A gallery of known people in one file: faces are enrolled, searched by what is visible, and really deleted.

from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import GallerySearch

with Gallery("people.gallery", model.version) as gallery:
    found = GallerySearch(gallery, model).search(model.records(face))
"""

__all__ = [
    "copies",
    "database",
    "encryption",
    "enrol",
    "identify",
    "rebuild",
    "sealing",
    "search",
    "vectors",
]
