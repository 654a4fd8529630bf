"""`oaml check`: faces before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command
from oaml_core.config import Config

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


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


def _check_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="folder with train.rec or one folder an identity, and .bin sets")


COMMANDS = {
    "check": Command("look at a data set before training on it", _check, _check_options),
}
