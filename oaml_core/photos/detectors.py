"""Detectors by name: `yunet`, a plugin's, or an ONNX file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.errors import ModelInputError
from oaml_core.registry import DETECTORS

if TYPE_CHECKING:
    from oaml_core.photos.detection import Detector

DEFAULT = "yunet"


def check_detector(name: str) -> None:
    """Refuse what names no detector, before any photograph is read.

    Args:
        name: of a registered detector, or path of a file that ends in `.onnx`.

    Raises:
        ConfigError: there is no detector of that name.
        ModelInputError: there is no such file.
    """
    if not name.lower().endswith(".onnx"):
        DETECTORS.check(name, "--detector")
    elif not Path(name).is_file():
        raise ModelInputError(f"There is no detector {name}.")


def open_detector(name: str = DEFAULT) -> Detector:
    """Load a detector by its name or from a file.

    Args:
        name: of a registered detector, or path of an ONNX file: a YuNet, an SCRFD or a RetinaFace.

    Raises:
        ConfigError: there is no detector of that name.
        ModelInputError: the file is missing, or is none of the three.
    """
    check_detector(name)
    if not name.lower().endswith(".onnx"):
        detector: Detector = DETECTORS.get(name)()
        return detector
    from oaml_core.photos.five_points import FivePointOnnx
    from oaml_core.photos.yunet import YuNet

    try:
        return YuNet(name)
    except ModelInputError:
        return FivePointOnnx(name)
