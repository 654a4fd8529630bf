"""`oaml prepare|train|export|rollback`: one command a stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, dataset_option, model_options
from oaml_core.config import Config

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _prepare(config: Config, options: Any) -> int:
    from oaml_core import stages

    print(stages.prepare(config, repair=options.repair, shards=options.shards).dataset_uri)
    return 0


def _train(config: Config, options: Any) -> int:
    from oaml_core import stages

    stages.check_files(config)
    dataset = options.dataset or stages.prepare(config).dataset_uri
    print(stages.train(config, dataset, launcher=options.launcher).checkpoint_uri)
    return 0


def _export(config: Config, options: Any) -> int:
    from oaml_core import stages

    dataset = options.dataset or stages.dataset_of_checkpoint(config, options.checkpoint)
    print(stages.export(config, dataset, options.checkpoint, options.metrics).model_uri)
    return 0


def _rollback(config: Config, options: Any) -> int:
    from oaml_core import stages

    back = stages.rollback(config, options.to)
    print(f"{back.version} is in production again; {back.withdrawn} is not\n{back.model_uri}")
    return 0


def _prepare_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="read the data set in the store; make again what is damaged"
    )
    parser.add_argument(
        "--shards", type=int | None, default=None, help="make it in so many parts, which an interrupted run keeps"
    )


def _train_options(parser: ArgumentParser) -> None:
    dataset_option(parser)
    parser.add_argument(
        "--launcher", choices=("local", "none"), default="local", help="torchrun on this machine, or this process"
    )


def _export_options(parser: ArgumentParser) -> None:
    model_options(parser)
    parser.add_argument("--metrics", required=True, help="metrics.json of the model: file or address in the store")


def _rollback_options(parser: ArgumentParser) -> None:
    parser.add_argument("--to", type=str | None, default=None, help="version; default: the one before the present one")


COMMANDS = {
    "prepare": Command(
        "check faces and put them into the store in the form that training reads", _prepare, _prepare_options
    ),
    "train": Command("train, or go on training, on one machine or as one node of several", _train, _train_options),
    "export": Command("write a model as ONNX, checked against torch", _export, _export_options),
    "rollback": Command("put the model that was in production before back there", _rollback, _rollback_options),
}
