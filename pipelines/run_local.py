"""`python -m pipelines.run_local`: the pipeline on one machine, with an S3 server of its own on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import OamlError
from oaml_core.processes import die_with_parent
from oaml_core.settings import config_parser, config_to_yaml, parse_config
from oaml_core.store import open_store

GRACE_SECONDS = 40
"""Time that a stage has to end in order after Ctrl-C; training writes a checkpoint in it."""
BUCKET = "s3://oaml"
NOISE = re.compile(
    r"INFO -|^\s*$|KFP Executor|Looking for component|Loading KFP|Got executor_input|^-{5,}|FutureWarning"
)
"""Lines of kfp's own that say nothing about the run."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the pipeline as the options say; print the table and where the results are."""
    parser = config_parser("python -m pipelines.run_local", "the pipeline on one machine")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config, _ = parse_config(parser, words)
        run(config)
    except OamlError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("oaml: interrupted; nothing is half-written, the same command goes on.", file=sys.stderr)
        sys.exit(130)


def run(config: Config) -> None:
    """Run the pipeline on the embedded S3 server, or on the one that OAML_S3_ENDPOINT names.

    Raises:
        OamlError: a stage failed; its own message stands above.
    """
    signal.signal(signal.SIGTERM, _terminated)
    own_server = "OAML_S3_ENDPOINT" not in os.environ
    server = embedded_s3(Path(config.work_dir) / "s3") if own_server else nullcontext({})
    with server as variables:
        os.environ.update(variables)
        config = replace(config, store=config.store if config.store.startswith("s3://") else BUCKET)
        _execute(config)
        print(_results(config))


def _execute(config: Config) -> None:
    """Run the graph in a process group of its own, which ends with this process."""
    with tempfile.TemporaryDirectory(prefix="oaml-") as folder:
        recipe = Path(folder) / "config.yaml"
        recipe.write_text(config_to_yaml(config))
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.execute", str(recipe)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=die_with_parent,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if not NOISE.search(line):
                    print(line, end="", flush=True)
            code = process.wait()
        finally:
            _end_group(process)
    if code:
        raise OamlError("the pipeline stopped: the reason stands above. The same command goes on where it stopped.")


def _end_group(process: subprocess.Popen[str]) -> None:
    """Ask what is left of the group to end, and insist after a while."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _terminated(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _results(config: Config) -> str:
    """Copy what people want to keep out of the store, and say what came out."""
    store = open_store(config.store)
    uris = stages.run_summary(config, stages.prepare(config).dataset_uri)
    uris["report"] = uris["metrics"].rpartition("/")[0] + "/report.html"
    folder = Path(config.work_dir) / config.name
    paths = {name: folder / uri.rpartition("/")[2] for name, uri in uris.items()}
    for name, uri in uris.items():
        store.get_file(uri.removeprefix(f"{store.uri}/"), paths[name])
    headline = stages.read_metrics_json(str(paths["metrics"]))["headline"]
    rows = ["", "accuracy (10 folds)   global   local   combined"]
    for condition in ("clean", "occluded"):
        values = [headline.get(f"val_accuracy_{condition}_{score}") for score in ("global", "local", "combined")]
        cells = "   ".join("   –   " if value is None else f"{100 * value:5.2f} %" for value in values)
        rows.append(f"  {condition:<18} {cells}")
    return "\n".join([*rows, "", *(f"{name:<11} {path}" for name, path in paths.items())])


if __name__ == "__main__":
    main()
