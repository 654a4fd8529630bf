"""`oaml model add|adapt`: a published recogniser in the store, ready for `oaml match` and `oaml identify`, as it is or
with local layers trained on top."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.held_folder import held_folder

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.export.global_only import Foreign

log = logging.getLogger(__name__)

WEIGHTS = (".ckpt", ".pt", ".pth", ".safetensors")
"""Endings of files that hold weights without their graph."""
ADAPT = "adapt"
LOSS = 1.0
"""Points of accuracy below the recogniser's own that an adapted model is warned of."""


def _model(config: Config, options: Any) -> int:
    source = Path(options.file)
    if not source.is_file():
        raise ConfigError(f"There is no file {source}.")
    return (_adapt if options.action == ADAPT else _add)(config, options, source)


def _adapt(config: Config, options: Any, source: Path) -> int:
    from oaml_core.stages.adapted_model import adapt, named_after

    if options.verification is not None:
        raise ConfigError(
            "`oaml model adapt` takes thresholds from the verification sets of --data.source, or from people that it "
            "holds out of training: leave out --verification."
        )
    config = named_after(config, source)
    config = replace(
        config,
        model=replace(config.model, weights=str(source), weights_channel_order=options.channel_order),
        export=replace(config.export, licence=options.licence),
    )
    done = adapt(config)
    print(f"licence     {options.licence}")
    for what in ("clean", "occluded"):
        alone, combined = (100 * done.measured[f"val_accuracy_{what}_{score}"] for score in ("global", "combined"))
        print(f"measured    {what}: accuracy {combined:.2f} %, by the embedding alone {alone:.2f} %")
        if combined < alone - LOSS:
            log.warning(
                "On %s faces the adapted model is worse than the recogniser alone. Train it on more people or for "
                "longer, or take the recogniser as it is: `oaml model add`.",
                what,
            )
    print(f"data set    {done.dataset_uri}")
    print(f"checkpoint  {done.checkpoint_uri}")
    print(f"report      {done.report_uri}")
    print(f"model       {done.model_uri}")
    return 0


def _add(config: Config, options: Any, source: Path) -> int:
    from oaml_core.export.global_only import Foreign, global_card, wrap_recogniser
    from oaml_core.export.pixel_range import doubt_about_pixels
    from oaml_core.inference.onnx_model import OamlOnnx
    from oaml_core.stages.added_model import add_model, measure_thresholds
    from oaml_core.store import open_store

    name = source.stem if config.name == Config().name else config.name
    if options.pixels not in (None, "signed") and source.suffix.lower() in WEIGHTS:
        raise ConfigError(f"{source.name} holds weights without a graph, which take signed pixels. Leave --pixels out.")
    about = Foreign(options.licence, options.pixels or "signed", options.channel_order, source.name)
    measured = ""
    with held_folder("oaml-model-") as folder:
        model, card = folder / "model.onnx", folder / "MODEL_CARD.md"
        graph, about = _graph(config, source, about, folder)
        wrap_recogniser(graph, model, about)
        doubt = doubt_about_pixels(graph, model, about)
        if doubt and options.pixels is None and graph == source:
            raise ConfigError(f"Nothing was added. {doubt} --pixels {about.pixels} adds it as it is.")
        if doubt:
            log.warning("%s", doubt)
        if options.verification:
            thresholds, measured = measure_thresholds(OamlOnnx(model), Path(options.verification))
            wrap_recogniser(graph, model, about, thresholds)
        card.write_text(global_card(name, OamlOnnx(model).metadata, measured), encoding="utf-8")
        uri = add_model(open_store(config.store), name, model, card)
    print(f"licence     {about.licence}")
    if measured:
        print(f"measured    {measured}")
    print(f"model       {uri}")
    return 0


def _graph(config: Config, source: Path, about: Foreign, folder: Path) -> tuple[Path, Foreign]:
    """Return the recogniser as ONNX, and how that wants its pixels; weights are put into their backbone first."""
    if source.suffix.lower() not in WEIGHTS:
        return source, about
    from oaml_core.export.published_weights import weights_to_onnx

    log.info("%s: weights of %s, written as ONNX", source.name, config.model.arch)
    if about.channel_order == "bgr":
        config = replace(config, model=replace(config.model, weights_channel_order="bgr"))
    weights_to_onnx(source, folder / "weights.onnx", config)
    return folder / "weights.onnx", replace(about, pixels="signed", channel_order="rgb")


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("add", ADAPT),
        help="add: put a published recogniser into the store as it is; adapt: train local layers on top of it by the "
        "recipe `adapt`, on --data.source, so that it stands cover",
    )
    parser.add_argument(
        "file",
        help="ONNX file: one input [N, 3, S, S] or [N, S, S, 3], embeddings [N, E]; or weights of --model.arch "
        f"({', '.join(WEIGHTS)})",
    )
    parser.add_argument("--licence", required=True, help="licence of the weights; kept in the model and its card")
    parser.add_argument(
        "--pixels",
        choices=("signed", "unit", "bytes"),
        default=None,
        help="what the network expects: [-1, 1] (default), [0, 1] or [0, 255]",
    )
    parser.add_argument("--channel_order", choices=("rgb", "bgr"), default="rgb", help="what the network expects")
    parser.add_argument(
        "--verification",
        type=str | None,
        default=None,
        help="verification set (.bin or pair list) of aligned faces to measure accuracy and thresholds on",
    )


def _with_recipe(words: list[str]) -> list[str]:
    """Put the recipe, and the settings that the file's architecture wants, before the words of somebody who adapts
    without naming a recipe; settings are left to those who name the architecture."""
    before = ["", *words]
    plain = [word for last, word in zip(before, words, strict=False) if not _is_option(word) and not _wants_value(last)]
    named = {word.split("=")[0] for word in words if _is_option(word)}
    if plain[:1] != [ADAPT] or "--config" in named:
        return words
    from oaml_core.stages.adapted_model import RECIPE, settings_for

    recipe = ["--config", RECIPE]
    if "--model.arch" in named or len(plain) < 2 or not Path(plain[1]).is_file():
        return [*recipe, *words]
    return [*recipe, *settings_for(Path(plain[1])), *words]


def _is_option(word: str) -> bool:
    return word.startswith("--")


def _wants_value(word: str) -> bool:
    return _is_option(word) and "=" not in word


COMMANDS = {
    "model": Command(
        "add a published recogniser to the store, as it is or adapted to cover", _model, _options, _with_recipe
    )
}
