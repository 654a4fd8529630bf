"""`oaml restore tiles|train|apply|evaluate`: a diffusion prior of clean tiles, and what it restores."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.amounts import amount
from oaml_core.cli.command import Command
from oaml_core.config import Config
from oaml_core.errors import ConfigError, DataError, ModelInputError
from oaml_core.whole_file import check_results_folder

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


log = logging.getLogger(__name__)


def _restore(config: Config, options: Any) -> int:
    return ACTIONS[options.action](config, options)


def _train(config: Config, options: Any) -> int:
    from oaml_core.stages import restore_stage

    dataset = options.dataset or restore_stage.prepare_tiles(config)
    print(restore_stage.train_prior(config, dataset, launcher=options.launcher).checkpoint_uri)
    return 0


def _evaluate(config: Config, options: Any) -> int:
    from oaml_core.stages import restore_stage

    dataset = options.dataset or restore_stage.prepare_tiles(config)
    found = restore_stage.evaluate_prior(config, dataset, _checkpoint(options), options.recogniser)
    for name, value in found.metrics.items():
        print(f"{name:<20} {value:.3f}")
    print(found.report)
    return 0


def _apply(config: Config, options: Any) -> int:
    import torch

    from oaml_core import stages
    from oaml_core.restoration.apply import build_operator, names_of_results, pictures_at, restore_image
    from oaml_core.restoration.prior import load_prior

    if options.image is None:
        raise ConfigError("It reads: oaml restore apply IMAGE --checkpoint PRIOR")
    out, operator = Path(options.out), build_operator(options.low_resolution, options.blur)
    check_results_folder(out, "--out")
    pictures = names_of_results(pictures_at(Path(options.image)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trained = load_prior(stages.fetch_file(config, _checkpoint(options)), device)
    shape = {name: getattr(trained.config.restoration, name) for name in ("channel_mult", "sigma_data")}
    left = 0
    for picture, name in pictures.items():
        try:
            restored = restore_image(
                trained.prior,
                picture,
                out,
                replace(config.restoration, **shape),
                operator=operator,
                mask=None if options.mask is None else Path(options.mask),
                second_shot=None if options.second_shot is None else Path(options.second_shot),
                seed=config.seed,
                device=device,
                name=name,
            )
        except (DataError, ModelInputError) as error:
            if len(pictures) == 1:
                raise
            left += 1
            log.warning("%s", error)
            continue
        print(restored)
    if left:
        log.warning("%s, as said above.", amount(left, "image was not restored", "images were not restored"))
    return 1 if left else 0


def _tiles(config: Config, options: Any) -> int:
    from oaml_core.restoration.cut_tiles import cut_tiles, photographs_at

    if options.image is None or options.folder is None:
        raise ConfigError("It reads: oaml restore tiles PHOTOGRAPHS FOLDER")
    settings = config.restoration
    print(
        cut_tiles(
            photographs_at(Path(options.image)),
            Path(options.folder),
            settings.tile_size,
            clean_from=options.clean_from,
            domain=settings.domain,
            metadata=None if settings.metadata is None else Path(settings.metadata),
        )
    )
    return 0


def _checkpoint(options: Any) -> str:
    if options.checkpoint is None:
        raise ConfigError(f"oaml restore {options.action} needs --checkpoint, which `oaml restore train` prints.")
    return str(options.checkpoint)


def _options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("action", choices=tuple(ACTIONS), help="what to do")
    add("image", nargs="?", help="apply, tiles: the image, or a folder of them; tiles: also RAW files")
    add("folder", nargs="?", help="tiles: folder to write them to")
    add("--clean-from", type=float, default=1.0, help="tiles: seconds of exposure from which on tiles are clean")
    add("--checkpoint", type=str | None, default=None, help="apply, evaluate: the prior, file or address in the store")
    add("--dataset", type=str | None, default=None, help="train, evaluate: tiles in the store; default: prepare them")
    add("--launcher", choices=("local", "none"), default="local", help="train: torchrun, or this process")
    add(
        "--recogniser",
        type=str | None,
        default=None,
        help="evaluate: checkpoint or ONNX file of a recogniser",
    )
    add("--out", default=".", help="apply: folder of the restored image and its uncertainty")
    add("--mask", type=str | None, default=None, help="apply: image, white = visible, black = covered")
    add("--second-shot", type=str | None, default=None, help="apply: the same scene once more, to estimate noise from")
    add("--low-resolution", type=int, default=1, help="apply: pixels were means of this many, squared")
    add("--blur", type=float, default=0.0, help="apply: Gaussian blur of this many pixels")


ACTIONS = {"tiles": _tiles, "train": _train, "apply": _apply, "evaluate": _evaluate}
COMMANDS = {"restore": Command("train a diffusion prior of clean tiles; restore images with it", _restore, _options)}
