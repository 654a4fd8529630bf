"""`oaml benchmark covered|templates`: any recognisers on covered faces, or on the templates of IJB-B and IJB-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, chosen_sharing, sharing_options
from oaml_core.config import Config
from oaml_core.config.occluders import drawn_occluders
from oaml_core.errors import ConfigError, nearest
from oaml_core.kept_memory import keep_freed_memory

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.inference.comparer import Comparer

WORDS = ("rgb", "bgr", "raw", "signed", "unit")
"""Words that may follow a plain ONNX model's name after `@`."""
PROTOCOLS = ("covered", "templates")


def _benchmark(config: Config, options: Any) -> int:
    from oaml_core.evaluation.covered.benchmark import run_covered
    from oaml_core.evaluation.covered.cohort import open_cohort
    from oaml_core.evaluation.covered.cover import covers
    from oaml_core.evaluation.covered.faces import open_faces
    from oaml_core.evaluation.covered.tables import markdown, write_covered

    if options.protocol not in PROTOCOLS:
        known = " and ".join(PROTOCOLS)
        raise ConfigError(
            f"There is no benchmark {options.protocol!r}.{nearest(options.protocol, PROTOCOLS)} There are {known}; "
            "IJB-B and IJB-C are read by `templates`."
        )
    if not 0 < options.far < 1:
        raise ConfigError(f"--far {options.far:g} is not a rate in (0, 1).")
    names = [options.compared] if isinstance(options.compared, str) else options.compared
    if not names:
        raise ConfigError("Name at least one model: --model model.onnx, --model run.ckpt or --model other.onnx@bgr.")
    keep_freed_memory()
    if options.protocol != "templates" and chosen_sharing(options).count is not None:
        raise ConfigError("Shards are for `oaml benchmark templates`: leave them out.")
    if options.protocol == "templates":
        return _benchmark_templates(config, options, names)
    drawn, folder = _drawn(options.drawn), None if options.occluders is None else Path(options.occluders)
    models = {name: _model(config, name) for name in names}
    chosen = covers(drawn, folder, held_out=any(map(_saw_cutouts, models.values())))
    found = run_covered(
        models,
        open_faces(Path(options.faces)),
        chosen,
        config.evaluate,
        real=None if options.real is None else open_faces(Path(options.real)),
        cohort=None if options.cohort is None else open_cohort(Path(options.cohort)),
        far=options.far,
        impostors=options.impostors,
    )
    written = write_covered(found, Path(options.out or options.protocol))
    print("\n".join([markdown(found), *map(str, written)]))
    return 0


def _benchmark_templates(config: Config, options: Any, names: list[str]) -> int:
    from oaml_core.evaluation.templates.lists import read_lists
    from oaml_core.evaluation.templates.tables import markdown, write_templates
    from oaml_core.stages.template_shards import TemplateModel

    sharing = chosen_sharing(options)
    lists = read_lists(Path(options.faces))
    # All are opened before the first describes images.
    models = {
        name: TemplateModel(_model(config, name), _model_file(config, name), ",".join(_named(name)[1]))
        for name in names
    }
    shards = sharing.count
    parts = {} if shards is None else {name: model.parts(config, lists, shards) for name, model in models.items()}
    if sharing.one is not None:
        for name, model in models.items():
            model.describe(lists, parts[name], sharing.one)
        return 0
    merge = sharing.only_merge
    found = {name: model.figures(lists, parts.get(name), only_merge=merge) for name, model in models.items()}
    written = write_templates(found, Path(options.out or options.protocol))
    for each in parts.values():
        each.remove()
    print("\n".join([markdown(found), *map(str, written)]))
    return 0


def _drawn(words: str) -> list[str]:
    """Kinds of drawn occluders from a list with commas."""
    found, known = [word for word in words.split(",") if word], drawn_occluders()
    for word in found:
        if word not in known:
            raise ConfigError(f"--drawn names {word!r}, which is not drawn.{nearest(word, known)}")
    return found


def _named(name: str) -> tuple[str, list[str]]:
    """Return the file or address that a name begins with, and the words that follow it after `@`."""
    address, _, words = name.partition("@")
    return address, [word for word in words.split(",") if word]


def _model(config: Config, name: str) -> Comparer:
    """Return an exported OAML model, a checkpoint, or any other ONNX recogniser, told apart by what the file says."""
    from oaml_core.inference.any_onnx import Pixels, PlainOnnx
    from oaml_core.inference.model_files import is_oaml_onnx
    from oaml_core.inference.onnx_model import OamlOnnx
    from oaml_core.stages.load_model import load_model

    address, given = _named(name)
    if not address.endswith(".onnx"):
        return load_model(_model_file(config, name))
    for word in given:
        if word not in WORDS:
            raise ConfigError(f"--model {name}: {word!r} is none of {', '.join(WORDS)}.{nearest(word, WORDS)}")
    path = _model_file(config, name)
    if not given and is_oaml_onnx(path):
        return OamlOnnx(path)
    pixels: Pixels = "signed" if "signed" in given else "unit" if "unit" in given else "bytes"
    return PlainOnnx(path, "bgr" if "bgr" in given else "rgb", pixels)


def _model_file(config: Config, name: str) -> Path:
    """Return the file of a model, fetched if it is an address in the store."""
    from oaml_core import stages

    address, _ = _named(name)
    if not address.endswith(".onnx"):
        return stages.fetch_file(config, address)
    return Path(address) if Path(address).is_file() else stages.fetch_model(config, address)


def _saw_cutouts(model: Comparer) -> bool:
    """Return True if a model was trained on cut-outs, and must be measured on those that training holds out."""
    from oaml_core.inference.onnx_model import OamlOnnx

    if isinstance(model, OamlOnnx):
        return model.metadata.get("config", {}).get("data", {}).get("occluders") is not None
    return bool(getattr(model, "saw_cutouts", False))


def _benchmark_options(parser: ArgumentParser) -> None:
    parser.add_argument("protocol", help="covered, or templates: IJB-B and IJB-C, 1:1 and 1:N, as published")
    parser.add_argument(
        "--compared",
        action="append",
        type=str,
        default=[],
        help="model to measure, again for each more; --model M says the same: exported model.onnx, checkpoint, or any "
        "ONNX recogniser (112 × 112 in, embedding out), RGB from 0 to 255 unless @bgr, @signed (-1 … 1), @unit "
        "(0 … 1) or @bgr,signed follows",
    )
    parser.add_argument(
        "--faces",
        required=True,
        help="uncovered faces: a verification set (….bin, …_pairs.csv), or a folder with one folder per person; for "
        "templates the folder of IJB-B or IJB-C",
    )
    parser.add_argument(
        "--occluders",
        type=str | None,
        default=None,
        help="cut-outs: RGBA, one folder per kind; held-out ones where a model saw cut-outs",
    )
    parser.add_argument(
        "--drawn",
        type=str,
        default="surgical,veil,sunglasses,scarf",
        help="drawn occluders of the test artwork; '': none",
    )
    parser.add_argument(
        "--real",
        type=str | None,
        default=None,
        help="aligned faces, some photographed covered: person/…_masked.jpg",
    )
    parser.add_argument(
        "--cohort",
        type=str | None,
        default=None,
        help="aligned faces of other people: adds a score that is normalised by them",
    )
    parser.add_argument("--far", type=float, default=1e-3, help="false accept rate")
    parser.add_argument("--impostors", type=int, default=20_000, help="most impostor pairs drawn per set")
    parser.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="folder of the tables; default: the protocol's name",
    )
    sharing_options(parser)


def _models_are_compared(words: list[str]) -> list[str]:
    """`--model FILE` as `--compared FILE`: as a group of configuration keys `--model` takes a YAML file."""
    respelled = []
    for place, word in enumerate(words):
        value = (words[place + 1 : place + 2] or [""])[0]
        if word == "--model" and not value.endswith((".yaml", ".yml")):
            respelled.append("--compared")
        elif word.startswith("--model=") and not word.endswith((".yaml", ".yml")):
            respelled.append("--compared=" + word.removeprefix("--model="))
        else:
            respelled.append(word)
    return respelled


COMMANDS = {
    "benchmark": Command(
        "measure any recognisers on covered faces, or on the templates of IJB-B and IJB-C",
        _benchmark,
        _benchmark_options,
        _models_are_compared,
    ),
}
