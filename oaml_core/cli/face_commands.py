"""`oaml match|compare-matchers`: what a person tries first, and what compares faces best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, dataset_option
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


def _compare_matchers(config: Config, options: Any) -> int:
    import torch

    from oaml_core import stages
    from oaml_core.evaluation.compare_matchers import compare_matchers, format_figures, planned_batches
    from oaml_core.models.recogniser import build_recogniser
    from oaml_core.training.trained import load_trained

    dataset = stages.fetch_dataset(config, options.dataset or stages.prepare(config).dataset_uri)
    torch.manual_seed(config.seed)
    if options.checkpoint:
        trained = load_trained(stages.fetch_file(config, options.checkpoint))
        model, architecture = trained.recogniser, trained.config.model
    else:
        model, architecture = build_recogniser(config.model, config.data.image_size), config.model
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    learning, test = planned_batches(model, config, dataset, device)
    matcher = model.matcher if options.checkpoint else None
    print(format_figures(compare_matchers(learning, test, architecture, steps=options.steps, trained=matcher)))
    return 0


def _compare_matchers_options(parser: ArgumentParser) -> None:
    dataset_option(parser)
    parser.add_argument(
        "--checkpoint",
        type=str | None,
        default=None,
        help="whose features are matched, and whose matcher has learnt; default: a backbone as configured",
    )
    parser.add_argument("--steps", type=int, default=30, help="steps that a fresh matcher learns on another batch")


COMMANDS = {
    "match": Command("compare two faces and draw what decided", _match, _match_options),
    "compare-matchers": Command(
        "QAConv and TransMatcher on the same batch: scores, loss, time, memory",
        _compare_matchers,
        _compare_matchers_options,
    ),
}
