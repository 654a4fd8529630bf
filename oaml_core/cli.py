"""The `oaml` command: one sub-command a stage, and what one wants beside them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oaml_core import __version__
from oaml_core.config import Config
from oaml_core.errors import ConfigError, OamlError, nearest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


class Command(NamedTuple):
    """A sub-command."""

    purpose: str
    run: Callable[[Config, Any], int]
    options: Callable[[ArgumentParser], None] | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `oaml` with `arguments`; exits 0, 1 for an error, 2 for a mistyped command line, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        sys.exit(_run(words))
    except OamlError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("oaml: interrupted; nothing is half-written, the same command goes on.", file=sys.stderr)
        sys.exit(130)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"oaml {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise ConfigError(f"There is no command {name!r}.{nearest(name, COMMANDS)} `oaml --help` lists them.")
    from oaml_core.settings import config_parser, parse_config

    command = COMMANDS[name]
    parser = config_parser(f"oaml {name}", command.purpose)
    if command.options is not None:
        command.options(parser)
    config, values = parse_config(parser, rest)
    return command.run(config, values)


def _overview() -> str:
    rows = [f"  {name:<10} {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "oaml: face recognition that still works when part of the face is covered",
            "",
            "oaml COMMAND [--config RECIPE.yaml] [--key value …]",
            "",
            *rows,
            "",
            "oaml COMMAND --help lists its options; --print-config shows the resolved configuration.",
        ]
    )


def _prepare(config: Config, _: Any) -> int:
    from oaml_core import stages

    print(stages.prepare(config).dataset_uri)
    return 0


def _train(config: Config, options: Any) -> int:
    from oaml_core import stages

    dataset = options.dataset or stages.prepare(config).dataset_uri
    print(stages.train(config, dataset, launcher=options.launcher).checkpoint_uri)
    return 0


def _evaluate(config: Config, options: Any) -> int:
    from oaml_core import stages

    dataset = options.dataset or stages.prepare(config).dataset_uri
    evaluated = stages.evaluate(config, dataset, options.checkpoint)
    for name, value in evaluated.metrics.items():
        print(f"{name:<34} {value:.4f}")
    print(evaluated.report)
    return 0


def _export(config: Config, options: Any) -> int:
    from oaml_core import stages

    dataset = options.dataset or stages.prepare(config).dataset_uri
    print(stages.export(config, dataset, options.checkpoint, options.metrics).model_uri)
    return 0


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


def _check(config: Config, options: Any) -> int:
    from dataclasses import replace

    from oaml_core.data.check import check_source

    config = replace(config, data=replace(config.data, source=options.folder))
    report = check_source(options.folder, config)
    print(report.table())
    path = Path(config.work_dir) / "checks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.to_json())
    print(path)
    return 1 if report.must_not_train else 0


def _doctor(config: Config, _: Any) -> int:
    from oaml_core.doctor import diagnose, format_findings

    findings = diagnose(config)
    print(format_findings(findings))
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _dataset_option(parser: ArgumentParser) -> None:
    parser.add_argument("--dataset", type=str | None, default=None, help="data set in the store; default: prepare it")


def _train_options(parser: ArgumentParser) -> None:
    _dataset_option(parser)
    parser.add_argument(
        "--launcher", choices=("local", "none"), default="local", help="torchrun on this machine, or this process"
    )


def _model_options(parser: ArgumentParser) -> None:
    _dataset_option(parser)
    parser.add_argument("--checkpoint", required=True, help="checkpoint: file or address in the store")


def _export_options(parser: ArgumentParser) -> None:
    _model_options(parser)
    parser.add_argument("--metrics", required=True, help="metrics.json of the model: file or address in the store")


def _match_options(parser: ArgumentParser) -> None:
    parser.add_argument("first", help="aligned face")
    parser.add_argument("second", help="aligned face")
    parser.add_argument("--checkpoint", required=True, help="checkpoint: file or address in the store")
    parser.add_argument("--metrics", type=str | None, default=None, help="metrics.json, for the decision")
    parser.add_argument("--far", type=float, default=1e-2, help="false accept rate to decide at")
    parser.add_argument("--out", default="match.png", help="picture with visibility maps and correspondences")


def _check_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="folder with train.rec or one folder an identity, and .bin sets")


COMMANDS = {
    "prepare": Command("check faces and put them into the store in the form that training reads", _prepare),
    "train": Command("train, or go on training, on one machine or as one node of several", _train, _train_options),
    "evaluate": Command("measure a model on every verification set, clean and occluded", _evaluate, _model_options),
    "export": Command("write a model as ONNX, checked against torch", _export, _export_options),
    "match": Command("compare two faces and draw what decided", _match, _match_options),
    "check": Command("look at a data set before training on it", _check, _check_options),
    "doctor": Command("what is installed, which GPU, whether the store answers", _doctor),
}


if __name__ == "__main__":
    main()
