"""`oaml match|identify|compare-matchers`: what a person tries first, and what compares faces best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, dataset_option
from oaml_core.cli.photo_options import finder_of, finder_options
from oaml_core.config import Config
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.inference.comparer import Comparer


def _match(config: Config, options: Any) -> int:
    from oaml_core.inference.drawing import save_pair
    from oaml_core.inference.match import match_files

    out, far = _picture(options.out), _rate(options.far)
    if options.backend == "auto" and not (options.checkpoint or options.int8):
        options.backend = "onnxruntime"  # OpenVINO takes longer to start than two faces do
    found = match_files(
        _comparer(config, options), Path(options.first), Path(options.second), far=far, finder=finder_of(options)
    )
    save_pair(found.pair, out, str(found).replace("; ", "\n"), found.faces)
    print(found)
    for name, remark in zip((options.first, options.second), found.remarks(), strict=True):
        print(f"{name}: {remark}")
    print(out)
    return 0


def _identify(config: Config, options: Any) -> int:
    from oaml_core.inference.identify import draw_identification, identify

    out, far, probe = _picture(options.out), _rate(options.far), Path(options.probe)
    if options.top < 1:
        raise ConfigError(f"--top {options.top} names nobody; it takes 1 or more.")
    if Path(options.gallery).is_file():
        return _identify_in_gallery(config, options, out, far)
    model, finder = _comparer(config, options), finder_of(options)
    found = identify(model, Path(options.gallery), probe, far=far, top=options.top, finder=finder)
    draw_identification(found, probe, model.image_size, out, finder)
    print(found)
    for line in found.remarks():
        print(f"{probe}: {line}")
    print(out)
    return 0


def _identify_in_gallery(config: Config, options: Any, out: Path, far: float) -> int:
    from oaml_core.cli.gallery_commands import exported_model
    from oaml_core.inference.backends import check_backend
    from oaml_core.inference.gallery.database import Gallery
    from oaml_core.inference.gallery.identify import draw_gallery_identification, identify_in_gallery

    if options.checkpoint or options.metrics:
        raise ConfigError("A gallery in one file is searched by an exported model: --onnx instead of --checkpoint.")
    if options.int8:
        raise ConfigError("A gallery in one file holds what model.onnx gives, which --int8 cannot be compared with.")
    check_backend(options.backend)
    model = exported_model(config, options.onnx, options.backend)
    with Gallery(options.gallery, model.version) as gallery:
        found, answer = identify_in_gallery(
            gallery, model, finder_of(options), Path(options.probe), far=far, top=options.top
        )
        print(found)
        for line in found.remarks():
            print(f"{options.probe}: {line}")
        if draw_gallery_identification(found, answer, gallery, model, out):
            print(out)
        else:
            print("no picture: the gallery keeps no image of this face (`oaml gallery add --keep_images`)")
    return 0


def _picture(name: str) -> Path:
    """Return the path for a picture, and check it before the work begins."""
    from oaml_core.inference.drawing import PICTURES

    if Path(name).suffix.lower() not in PICTURES:
        raise ConfigError(f"--out {name}: the name of a picture ends in {', '.join(PICTURES)}.")
    return Path(name)


def _rate(far: float) -> float:
    if not 0 < far <= 1:
        raise ConfigError(f"--far {far:g} is not a rate in (0, 1].")
    return far


def _comparer(config: Config, options: Any) -> Comparer:
    """Return the ONNX model or the checkpoint that was named; the model in production if none was."""
    from oaml_core import stages
    from oaml_core.inference.backends import check_backend
    from oaml_core.inference.onnx_model import OamlOnnx
    from oaml_core.inference.quickest import quickest_file

    check_backend(options.backend)
    if options.onnx and options.checkpoint:
        raise ConfigError("Name one model: --onnx model.onnx or --checkpoint C.")
    if options.onnx:
        path = stages.fetch_model(config, options.onnx, int8=options.int8)
        return OamlOnnx(quickest_file(path, options.backend) if options.int8 else path, backend=options.backend)
    if options.checkpoint:
        if options.int8:
            raise ConfigError("--int8 is for exported models; a checkpoint is run by torch. Leave one of them out.")
        if options.backend != "auto":
            raise ConfigError("--backend is for exported models; a checkpoint is run by torch. Leave one of them out.")
        return _checkpoint_comparer(config, options)
    from oaml_core.stages.added_model import find_model

    return find_model(config, options.backend, int8=options.int8)


def _checkpoint_comparer(config: Config, options: Any) -> Comparer:
    from oaml_core import stages
    from oaml_core.stages.load_model import load_model

    return load_model(stages.fetch_file(config, options.checkpoint), options.metrics)


def _identify_options(parser: ArgumentParser) -> None:
    parser.add_argument("probe", help="photograph, or aligned face")
    parser.add_argument(
        "--gallery",
        required=True,
        help="file of `oaml gallery`, or folder: a folder or a picture per person",
    )
    _comparer_options(parser)
    parser.add_argument("--top", type=int, default=5, help="people named")
    parser.add_argument("--out", default="identify.png", help="picture of probe and first candidate")


def _match_options(parser: ArgumentParser) -> None:
    parser.add_argument("first", help="photograph, or aligned face")
    parser.add_argument("second", help="photograph, or aligned face")
    _comparer_options(parser)
    parser.add_argument("--out", default="match.png", help="picture with visibility maps and correspondences")


def _comparer_options(parser: ArgumentParser) -> None:
    from oaml_core.inference.backends import BACKENDS

    finder_options(parser)
    parser.add_argument(
        "--onnx",
        type=str | None,
        default=None,
        help="exported model.onnx, its matcher beside it: file or address in the store; without it and --checkpoint: "
        "the model in production in --store",
    )
    parser.add_argument("--checkpoint", type=str | None, default=None, help="checkpoint: file or address in the store")
    parser.add_argument(
        "--metrics",
        type=str | None,
        default=None,
        help="metrics.json, for a checkpoint's decision; default: the one beside it",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what runs an exported model; auto: OpenVINO if it is installed, pays off and agrees with onnxruntime",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="let model.int8.onnx answer where it is quicker and its accuracy on record",
    )
    parser.add_argument("--far", type=float, default=1e-2, help="false accept rate of one comparison to decide at")


def _compare_matchers(config: Config, options: Any) -> int:
    import torch

    from oaml_core import stages
    from oaml_core.evaluation.own_faces.compare_matchers import (
        attribute_check,
        compare_matchers,
        format_figures,
        planned_batches,
    )
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
    print(attribute_check(dataset.train.labels, config.data.batch_size, config.data.num_instances))
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
        "run QAConv and TransMatcher on one batch: scores, loss, time, memory",
        _compare_matchers,
        _compare_matchers_options,
    ),
}
