"""`oaml evaluate|compare`: what a model can do, and which of two is better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command, Sharing, chosen_sharing, dataset_option, sharing_options
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.whole_file import written_whole

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _evaluate(config: Config, options: Any) -> int:
    from oaml_core import stages

    if (options.checkpoint is None) == (options.backbone is None):
        raise ConfigError(
            "Give one of --checkpoint (a model that OAML trained) and --backbone (published weights or an ONNX file)."
        )
    sharing = chosen_sharing(options)
    if options.backbone is not None:
        return _evaluate_backbone(config, options, sharing)
    if options.faces is not None:
        if sharing.one is not None:
            stages.evaluate_own_faces_shard(config, options.faces, options.checkpoint, sharing.one)
            return 0
        own = stages.evaluate_own_faces(
            config, options.faces, options.checkpoint, shards=sharing.count, only_merge=sharing.only_merge
        )
        print("\n".join([own.summary, *map(str, own.written)]))
        return 0
    dataset = options.dataset or stages.dataset_of_checkpoint(config, options.checkpoint)
    if sharing.one is not None:
        stages.evaluate_shard(config, dataset, options.checkpoint, sharing.one)
        return 0
    evaluated = stages.evaluate(
        config, dataset, options.checkpoint, shards=sharing.count, only_merge=sharing.only_merge
    )
    for name, value in evaluated.metrics.items():
        print(f"{name:<34} {value:.4f}")
    print(evaluated.report)
    return 0


def _evaluate_backbone(config: Config, options: Any, sharing: Sharing) -> int:
    from oaml_core.stages.evaluate_backbone import evaluate_backbone, evaluate_backbone_shard

    if options.faces is not None:
        raise ConfigError("--faces takes a --checkpoint. Add the file by `oaml model add`, or give --data.source.")
    if sharing.one is not None:
        evaluate_backbone_shard(config, options.dataset, options.backbone, sharing.one, pixels=options.pixels)
        return 0
    found = evaluate_backbone(
        config,
        options.dataset,
        options.backbone,
        pixels=options.pixels,
        shards=sharing.count,
        only_merge=sharing.only_merge,
    )
    print(f"{found.summary}\n{found.absent}\n{found.report}")
    return 0


def _evaluate_options(parser: ArgumentParser) -> None:
    dataset_option(parser)
    parser.add_argument(
        "--checkpoint", type=str | None, default=None, help="checkpoint of training: file or address in the store"
    )
    parser.add_argument(
        "--backbone",
        type=str | None,
        default=None,
        help="instead of --checkpoint: published weights of --model.arch, or ONNX file; for the global score alone",
    )
    parser.add_argument(
        "--pixels",
        choices=("auto", "signed", "unit", "bytes"),
        default="auto",
        help="what an ONNX --backbone expects: [-1, 1], [0, 1], [0, 255], or what its input and first layers tell",
    )
    parser.add_argument(
        "--faces",
        type=str | None,
        default=None,
        help="folder of your own, one folder per identity, or pair list (first,second,same), in place of a data set; "
        "--data FOLDER says the same",
    )
    sharing_options(parser)


def _data_is_faces(words: list[str]) -> list[str]:
    """`--data FOLDER` as `--faces FOLDER`: as a group of configuration keys `--data` takes a YAML file."""
    return [
        "--faces"
        if word == "--data" and not (words[place + 1 : place + 2] or [""])[0].endswith((".yaml", ".yml"))
        else word
        for place, word in enumerate(words)
    ]


def _compare(config: Config, options: Any) -> int:
    import json

    from oaml_core import stages
    from oaml_core.evaluation.verdict.comparison import compare
    from oaml_core.evaluation.verdict.gate import decide
    from oaml_core.evaluation.verdict.summary import comparison_table

    champion, challenger = (stages.fetch_scores(config, uri) for uri in (options.champion, options.challenger))
    compared = compare(champion, challenger, config.evaluate.far, name=options.champion)
    decision = decide(compared, config.promote)
    found = {**compared.as_json(), "gate": {"passes": decision.passes, "reason": decision.reason}}
    print("\n".join(comparison_table(found)))
    for one in compared.incomparable:
        print(f"not compared: {one}")
    print(f"\nThe gate {'lets the challenger pass' if decision.passes else 'keeps the champion'}: {decision.reason}")
    if options.out is not None:
        with written_whole(Path(options.out)) as partial:
            partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(options.out)
    return 0


def _compare_options(parser: ArgumentParser) -> None:
    parser.add_argument("champion", help="metrics.json of the model to beat: file or address in the store")
    parser.add_argument("challenger", help="metrics.json of the other model; scores.npz lies beside both")
    parser.add_argument("--out", type=str | None, default=None, help="write the comparison as JSON too")


COMMANDS = {
    "evaluate": Command(
        "measure a model on every verification set, clean and occluded", _evaluate, _evaluate_options, _data_is_faces
    ),
    "compare": Command(
        "say which of two evaluated models is better, and whether it may be chance", _compare, _compare_options
    ),
}
