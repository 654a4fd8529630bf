"""`oaml match`: what a person tries first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command
from oaml_core.config import Config

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _match(config: Config, options: Any) -> int:
    from oaml_core import stages
    from oaml_core.evaluation.match import match_images
    from oaml_core.training.trained import load_trained

    trained = load_trained(stages.fetch_file(config, options.checkpoint))
    metrics = stages.read_metrics_json(options.metrics) if options.metrics else None
    result = match_images(
        trained.recogniser,
        Path(options.first),
        Path(options.second),
        Path(options.out),
        metrics=metrics,
        far=options.far,
        image_size=trained.config.data.image_size,
    )
    print(result)
    return 0


def _match_options(parser: ArgumentParser) -> None:
    parser.add_argument("first", help="aligned face")
    parser.add_argument("second", help="aligned face")
    parser.add_argument("--checkpoint", required=True, help="checkpoint: file or address in the store")
    parser.add_argument("--metrics", type=str | None, default=None, help="metrics.json, for the decision")
    parser.add_argument("--far", type=float, default=1e-2, help="false accept rate to decide at")
    parser.add_argument("--out", default="match.png", help="picture with visibility maps and correspondences")


COMMANDS = {
    "match": Command("compare two faces and draw what decided", _match, _match_options),
}
