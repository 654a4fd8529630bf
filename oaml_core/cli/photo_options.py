"""Options of every command that looks for faces in photographs, and the finder that they describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oaml_core.photos.detectors import DEFAULT, check_detector

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.photos.faces import FaceFinder


def detector_option(parser: ArgumentParser) -> None:
    """Add `--detector`."""
    parser.add_argument(
        "--detector",
        default=DEFAULT,
        help="what finds faces: yunet, another name, or FILE.onnx",
    )


def finder_options(parser: ArgumentParser) -> None:
    """Add `--aligned`, `--face` and `--detector`."""
    parser.add_argument(
        "--aligned", action="store_true", help="the images are aligned faces already: look for none, use them whole"
    )
    parser.add_argument(
        "--face", choices=("largest", "central"), default="largest", help="which of several faces in a photograph"
    )
    detector_option(parser)


def finder_of(options: Any) -> FaceFinder:
    """Return the finder that the options describe; its detector is loaded when a photograph is looked at.

    Raises:
        ConfigError: there is no detector of that name.
        ModelInputError: there is no such file.
    """
    from oaml_core.photos.faces import FaceFinder

    check_detector(options.detector)
    return FaceFinder(options.detector, aligned=options.aligned, choice=getattr(options, "face", "largest"))
