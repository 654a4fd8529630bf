"""`oaml align`: a collection of photographs as aligned faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command
from oaml_core.cli.photo_options import detector_option
from oaml_core.config import Config
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _align(config: Config, options: Any) -> int:
    from oaml_core.photos.collection import align_folder
    from oaml_core.photos.detectors import check_detector

    check_detector(options.detector)
    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers} is too few; it takes 1 or more.")
    size, out = config.data.image_size, Path(options.out)
    made = align_folder(
        Path(options.folder),
        out,
        size=size,
        workers=options.workers,
        every=options.every,
        detector=options.detector,
    )
    print(made)
    print(out)
    return 0


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="photographs, at any depth")
    parser.add_argument(
        "out", help="folder that gets the aligned faces, landmarks.parquet, rejects.csv and doubtful.html"
    )
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--every", action="store_true", help="all faces of a photograph, not the largest alone")
    detector_option(parser)


COMMANDS = {"align": Command("align the faces of photographs; landmarks and rejects are listed", _align, _options)}
