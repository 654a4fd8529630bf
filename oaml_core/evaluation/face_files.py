"""The reader of aligned faces at its former place; `oaml_core.inference.face_files` has it."""

from oaml_core.inference.face_files import load_face

__all__ = ["load_face"]
