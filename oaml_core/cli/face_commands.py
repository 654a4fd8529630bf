"""`oaml match|compare-matchers`: what a person tries first, and what compares faces best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, dataset_option
from oaml_core.config import Config
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.evaluation.identify import Comparer


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


def _identify(config: Config, options: Any) -> int:
    from oaml_core.evaluation.identify import draw_identification, identify

    model = _comparer(config, options)
    probe = Path(options.probe)
    found = identify(model, Path(options.gallery), probe, far=options.far, top=options.top)
    draw_identification(found, probe, model.image_size, Path(options.out))
    print(found)
    return 0


def _comparer(config: Config, options: Any) -> Comparer:
    """The ONNX model or the checkpoint that was named."""
    from oaml_core import stages

    if bool(options.onnx) == bool(options.checkpoint):
        raise ConfigError("Name the model to identify with: --onnx model.onnx or --checkpoint C, one of the two.")
    if options.onnx:
        from oaml_core.export import OamlOnnx

        return OamlOnnx(options.onnx)
    from oaml_core.evaluation.checkpoint_comparer import CheckpointComparer
    from oaml_core.training.trained import load_trained

    trained = load_trained(stages.fetch_file(config, options.checkpoint))
    metrics = stages.read_metrics_json(options.metrics) if options.metrics else None
    return CheckpointComparer(trained.recogniser, trained.config.data.image_size, metrics)


def _identify_options(parser: ArgumentParser) -> None:
    parser.add_argument("probe", help="aligned face")
    parser.add_argument("--gallery", required=True, help="aligned faces: one folder a person, or one picture a person")
    parser.add_argument("--onnx", type=str | None, default=None, help="exported model.onnx, its matcher beside it")
    parser.add_argument("--checkpoint", type=str | None, default=None, help="checkpoint: file or address in the store")
    parser.add_argument("--metrics", type=str | None, default=None, help="metrics.json, for a checkpoint's decision")
    parser.add_argument("--far", type=float, default=1e-2, help="false accept rate of one comparison to decide at")
    parser.add_argument("--top", type=int, default=5, help="people named")
    parser.add_argument("--out", default="identify.png", help="picture of probe and first candidate")


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
    "identify": Command("rank the people of a gallery for a probe, and decide", _identify, _identify_options),
    "match": Command("compare two faces and draw what decided", _match, _match_options),
    "compare-matchers": Command(
        "QAConv and TransMatcher on the same batch: scores, loss, time, memory",
        _compare_matchers,
        _compare_matchers_options,
    ),
}
