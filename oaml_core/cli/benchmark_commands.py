"""`oaml benchmark covered|templates`: any recognisers on covered faces, or on the templates of IJB-B and IJB-C."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.benchmark_models import each_once, model_file, named, open_named, saw_cutouts
from oaml_core.cli.command import Command, chosen_sharing, sharing_options
from oaml_core.config import Config
from oaml_core.config.occluders import drawn_occluders
from oaml_core.errors import ConfigError, nearest
from oaml_core.kept_memory import keep_freed_memory
from oaml_core.whole_file import check_results_folder

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

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
    if options.impostors < 1:
        raise ConfigError(f"--impostors {options.impostors} is no number of pairs. Give 1 or more.")
    names = each_once([options.compared] if isinstance(options.compared, str) else options.compared)
    out = Path(options.out or options.protocol)
    check_results_folder(out, "--out")
    keep_freed_memory()
    if options.protocol != "templates" and chosen_sharing(options).count is not None:
        raise ConfigError("Shards are for `oaml benchmark templates`: leave them out.")
    if options.protocol == "templates":
        return _benchmark_templates(config, options, names, out)
    drawn, folder = _drawn(options.drawn), None if options.occluders is None else Path(options.occluders)
    models = {name: open_named(config, name) for name in names}
    chosen = covers(drawn, folder, held_out=any(map(saw_cutouts, models.values())))
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
    written = write_covered(found, out)
    print("\n".join([markdown(found), *map(str, written)]))
    return 0


def _benchmark_templates(config: Config, options: Any, names: list[str], out: Path) -> int:
    from oaml_core.evaluation.templates.lists import read_lists
    from oaml_core.evaluation.templates.tables import markdown, write_templates
    from oaml_core.stages.template_shards import TemplateModel

    sharing = chosen_sharing(options)
    lists = read_lists(Path(options.faces))
    # All are opened before the first describes images.
    models = {
        name: TemplateModel(open_named(config, name), model_file(config, name), ",".join(named(name)[1]))
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
    written = write_templates(found, out)
    for each in parts.values():
        each.remove()
    print("\n".join([markdown(found), *map(str, written)]))
    return 0


def _drawn(words: str) -> list[str]:
    """Kinds of drawn occluders from a list with commas."""
    found, known = list(dict.fromkeys(word.strip() for word in words.split(",") if word.strip())), drawn_occluders()
    for word in found:
        if word not in known:
            raise ConfigError(f"--drawn names {word!r}, which is not drawn.{nearest(word, known)}")
    return found


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
