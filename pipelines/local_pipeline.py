"""The pipeline on one machine, with an S3 server of its own on loopback. `pipelines.run_local` starts it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.config import Config
from oaml_core.errors import OamlError
from oaml_core.held_folder import held_folder
from oaml_core.processes import die_with_parent
from oaml_core.settings import config_parser, config_to_yaml, parse_config
from pipelines.local_log import readable
from pipelines.process_tree import end_tree

if TYPE_CHECKING:
    from oaml_core.store import Store

GRACE_SECONDS = 45
"""Time that a stage has to end in order after Ctrl-C; training writes a checkpoint in it."""
DRAWN_GOAL = 0.9
"""Accuracy that the demo's model reaches on drawn people whom it has not seen."""
GRAPH = "pipelines.execute"
"""Module that runs the graph."""


def run_words(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline as the options say; print the table and where the results are.

    Args:
        arguments: the command line; None: that of the process.

    Returns:
        The exit code: 0, 1 for an error, 2 for a mistyped command line.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = config_parser("python -m pipelines.run_local", "the pipeline on one machine")
    try:
        parser.add_argument("--shards", type=int, default=1, help="prepare the data set in so many steps")
        parser.add_argument(
            "--evaluation_shards", type=int, default=1, help="score verification pairs in so many steps"
        )
        config, options = parse_config(parser, sys.argv[1:] if arguments is None else arguments)
        run(config, options.shards, options.evaluation_shards)
    except OamlError as error:
        print(f"oaml: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(config: Config, shards: int = 1, evaluation_shards: int = 1) -> None:
    """Run the pipeline in the store that `config` names; by default in S3, in a store for this recipe and these faces.

    The server is the one that OAML_S3_ENDPOINT names, else one of our own over `<work_dir>/s3`, for as long as the run
    takes.

    Args:
        config: the whole configuration.
        shards: steps that the data set is prepared in.
        evaluation_shards: steps that verification pairs are scored in.

    Raises:
        OamlError: a stage failed; its own message stands above.
    """
    from oaml_core.embedded_s3 import embedded_s3
    from oaml_core.stages.local_runs import store_of_local_run

    default = config.store == Config().store
    own_server = default and "OAML_S3_ENDPOINT" not in os.environ
    server: AbstractContextManager[dict[str, str]] = (
        embedded_s3(Path(config.work_dir) / "s3") if own_server else nullcontext({})
    )
    with server as variables:
        os.environ.update(variables)
        config = replace(config, store=store_of_local_run(config)) if default else config
        with held_folder("oaml-recipe-") as folder:
            recipe = folder / "config.yaml"
            recipe.write_text(config_to_yaml(config))
            _run_graph(recipe, shards, evaluation_shards)
        print(_results(config))


def _run_graph(recipe: Path, *shards: int) -> None:
    """Run the graph in a process group of its own, and see to it that nothing of it is left, whatever happens here.

    Raises:
        OamlError: a stage failed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", GRAPH, str(recipe), *map(str, shards)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
        preexec_fn=die_with_parent,
        text=True,
        errors="replace",
    )
    # Read in a thread, so that a stage that ends in order is never stuck in a full pipe.
    reader = threading.Thread(target=_show, args=(process,), daemon=True)
    try:
        reader.start()
        code = process.wait()
    finally:
        end_tree(process, GRACE_SECONDS)
        reader.join(5)
    if code:
        raise OamlError("the pipeline stopped: the reason stands above. The same command goes on where it stopped.")


def _show(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    try:
        for line in readable(process.stdout):
            print(line, flush=True)
    except BrokenPipeError:  # nobody reads on, as after `| head`: stop in order
        os.kill(os.getpid(), signal.SIGTERM)


def _results(config: Config) -> str:
    """Copy what people want to keep out of the store, and say what came out."""
    from oaml_core import stages
    from oaml_core.store import open_store

    store = open_store(config.store)
    uris = stages.run_summary(config, stages.data_of_night(config, stages.prepare(config)).dataset_uri)
    folder = Path(config.work_dir) / config.name
    measured, report, checkpoint = (
        _fetch(store, uri, folder)
        for uri in (uris["metrics"], uris["metrics"].rpartition("/")[0] + "/report.html", uris["checkpoint"])
    )
    model = folder / uris["model"].rpartition("/")[2]
    store.get_tree(_key(store, uris["model"]).rpartition("/")[0], folder, last=model.name)
    headline = stages.read_metrics_json(str(measured))["headline"]
    paths = {"report": report, "metrics": measured, "model": model, "checkpoint": checkpoint}
    if config.data.source is None:
        from oaml_core.data.sources.sample_faces import write_sample_faces

        paths["faces"] = write_sample_faces(folder / "faces", config.data.image_size)
    return "\n".join(
        [*_table(headline), *_verdict(config, headline), "", *(f"{name:<11} {path}" for name, path in paths.items())]
    )


def _fetch(store: Store, uri: str, folder: Path) -> Path:
    path = folder / uri.rpartition("/")[2]
    store.get_file(_key(store, uri), path)
    return path


def _key(store: Store, uri: str) -> str:
    return uri.removeprefix(f"{store.uri}/")


def _table(headline: dict[str, float]) -> list[str]:
    """Return accuracies over ten folds, means over the verification sets and, where faces are covered, the
    conditions.
    """
    rows = ["", f"{'accuracy (10 folds)':<20}{'global':>10}{'local':>10}{'combined':>10}"]
    for shown, name in (("clean", "clean"), ("covered", "occluded")):
        values = [headline.get(f"val_accuracy_{name}_{score}") for score in ("global", "local", "combined")]
        cells = [f"{'–':>10}" if value is None else f"{100 * value:>8.2f} %" for value in values]
        rows.append(f"  {shown:<18}{''.join(cells)}")
    return rows


def _verdict(config: Config, headline: dict[str, float]) -> list[str]:
    """For drawn faces, whether the model is as good as they allow."""
    if config.data.source is not None:
        return []
    accuracy = headline["val_accuracy_clean_combined"]
    said = "reached" if accuracy >= DRAWN_GOAL else "NOT reached: train longer, or on more identities"
    return [f"  goal on drawn faces, clean, combined: {100 * DRAWN_GOAL:.0f} %: {said}"]
