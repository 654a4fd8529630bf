"""`oaml check|inspect|occluders`: faces, and what covers them, before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, dataset_option
from oaml_core.config import Config
from oaml_core.errors import ConfigError, nearest
from oaml_core.whole_file import written_whole

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _check(config: Config, options: Any) -> int:
    from dataclasses import replace

    from oaml_core.data.check.checks import check_source

    config = replace(config, data=replace(config.data, source=options.folder))
    report = check_source(options.folder, config)
    print(report.table())
    path = Path(config.work_dir) / "checks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_text(report.to_json())
    print(path)
    return 1 if report.must_not_train else 0


def _inspect(config: Config, options: Any) -> int:
    from oaml_core import stages
    from oaml_core.data.batches.sample_sheet import write_sample_sheet
    from oaml_core.stages.addresses import fetch_dataset

    path = Path(config.work_dir) / "samples.png"
    dataset = fetch_dataset(config, options.dataset or stages.prepare(config).dataset_uri)
    write_sample_sheet(config, dataset, path, options.count)
    print(path)
    return 0


def _inspect_options(parser: ArgumentParser) -> None:
    from jsonargparse.typing import PositiveInt

    dataset_option(parser)
    parser.add_argument("--count", type=PositiveInt, default=16, help="columns of the sheet, an image each")


def _check_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="folder with train.rec or one folder per identity, and .bin sets")


def _occluders(config: Config, options: Any) -> int:
    from oaml_core.data.augment.cutouts import open_cutouts
    from oaml_core.data.batches.occluder_sheet import write_occluder_sheet

    if options.action != "preview":
        raise ConfigError(f"There is no action {options.action!r}.{nearest(options.action, ['preview'])}")
    folder = options.folder or config.data.occluders
    path = Path(options.out) if options.out else Path(config.work_dir) / "occluders.png"
    write_occluder_sheet(path, None if folder is None else open_cutouts(Path(folder)), options.count)
    print(path)
    return 0


def _occluders_options(parser: ArgumentParser) -> None:
    from jsonargparse.typing import PositiveInt

    parser.add_argument("action", help="preview: draw every occluder on drawn faces, for training and for testing")
    parser.add_argument(
        "--folder", type=str | None, default=None, help="cut-outs, one folder per kind; default: data.occluders"
    )
    parser.add_argument("--count", type=PositiveInt, default=6, help="faces per occluder and split")
    parser.add_argument("--out", type=str | None, default=None, help="PNG; default: occluders.png in work_dir")


COMMANDS = {
    "check": Command("look at a data set before training on it", _check, _check_options),
    "occluders": Command("draw what covers faces, on a sheet to look at", _occluders, _occluders_options),
    "inspect": Command("draw what training sees: before, after, mask", _inspect, _inspect_options),
}
