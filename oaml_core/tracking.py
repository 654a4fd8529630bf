"""Metrics over the steps of a run: a CSV that is the truth, and copies of it in Weights & Biases and MLflow."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from oaml_core.config import Config
from oaml_core.line_file import LineFile
from oaml_core.mlflow_copy import ADDRESS, MlflowCopy
from oaml_core.whole_file import written_whole

log = logging.getLogger(__name__)

METRICS = "metrics.csv"
"""In the run's folder."""
RUN_ID = "run_id.txt"
"""In the run's folder: Weights & Biases' id of the run."""


class Tracker:
    """Writes metrics to `metrics.csv` (columns step, name, value), to Weights & Biases and to an MLflow server.

    A run that is resumed continues all of them: rows of what is done again are dropped from the CSV, so that each step
    stands there once. Neither a full disk nor a fault of a copy stops the run: the CSV catches up, the copy says from
    which step on it is incomplete.

    Args:
        config: `tracking`, and what Weights & Biases shows as the run's configuration.
        folder: the run's folder.
        resume_step: rows of steps after this one are dropped; 0 for a new run.
        run_id: Weights & Biases' id of the run that is continued.
        repeats: whether a metric of `resume_step` itself, given by its name, is measured again; None: none is.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        resume_step: int = 0,
        run_id: str | None = None,
        repeats: Callable[[str], bool] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / METRICS
        self.run_id = run_id or _kept_run_id(folder)
        kept: dict[tuple[int, str], float] = {}
        for step, name, value in read_metrics(self.path):
            if step < resume_step or (step == resume_step and not (repeats and repeats(name))):
                kept[step, name] = value
        rows = (_csv_line(step, name, value) for (step, name), value in kept.items())
        self._file = LineFile(self.path, "".join(f"{line}\n" for line in ("step,name,value", *rows)))
        self._wandb = _start_wandb(config, folder, self.run_id)
        self._mlflow = _start_mlflow(config, self.run_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` at `step`."""
        self._file.add(*(_csv_line(step, name, value) for name, value in values.items()))
        if self._wandb is not None:
            try:
                self._wandb.log(dict(values), step=step)
            except Exception as error:  # whatever it fails with must not stop training
                log.warning("Weights & Biases lacks the steps from %d on (%s). %s has them.", step, error, self.path)
                self._finish_wandb()
        if self._mlflow is not None:
            try:
                self._mlflow.log(step, values)
            except Exception as error:
                log.warning(
                    "MLflow may lack steps up to %d and lacks later ones (%s). %s has them.", step, error, self.path
                )
                self._mlflow = None

    @property
    def has_copy(self) -> bool:
        """Return True if Weights & Biases takes charts and pictures; the CSV holds numbers alone."""
        return self._wandb is not None

    def picture(self, step: int, name: str, path: Path) -> None:
        """Show a picture in Weights & Biases beside the metrics of `step`; without a copy there, do nothing."""
        self._show(step, name, lambda wandb: wandb.Image(str(path)))

    def histogram(self, step: int, name: str, counts: Sequence[float], edges: Sequence[float]) -> None:
        """Show `counts` [N] of values between `edges` [N + 1] in Weights & Biases; without a copy there, do nothing."""
        bins = np.array(counts), np.array(edges)
        self._show(step, name, lambda wandb: wandb.Histogram(np_histogram=bins))

    def curves(
        self, step: int, name: str, points: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str
    ) -> None:
        """Show curves in one chart of Weights & Biases; without a copy there, do nothing.

        Args:
            step: of the metrics that they stand beside.
            name: of the chart.
            points: curves by name, each the positions across and up of its points.
            across: name of the horizontal axis.
        """
        xs, ys = [list(across) for across, _ in points.values()], [list(up) for _, up in points.values()]
        self._show(
            step, name, lambda wandb: wandb.plot.line_series(xs=xs, ys=ys, keys=[*points], title=name, xname=across)
        )

    def _show(self, step: int, name: str, build: Callable[[Any], Any]) -> None:
        """Log what `build` makes with the module of Weights & Biases."""
        if self._wandb is not None:
            try:
                import wandb

                self._wandb.log({name: build(wandb)}, step=step)
            except Exception as error:  # whatever it fails with must not stop training
                log.warning("Weights & Biases does not show %s at step %d (%s).", name, step, error)

    def close(self) -> None:
        """Finish the records of all destinations."""
        self._file.close()
        self._finish_wandb()
        mlflow, self._mlflow = self._mlflow, None
        self._finish(mlflow, "MLflow")

    def _finish_wandb(self) -> None:
        copy, self._wandb = self._wandb, None
        self._finish(copy, "Weights & Biases")

    def _finish(self, copy: Any, where: str) -> None:
        """Finish a copy, which is None where there is none."""
        if copy is not None:
            try:
                copy.finish()
            except Exception as error:
                log.warning("%s may lack the last steps (%s). %s has them.", where, error, self.path)


def _csv_line(step: int, name: str, value: float) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow((step, name, f"{value:.9g}"))
    return line.getvalue()


def _kept_run_id(folder: Path) -> str:
    """Return the id that an earlier try of the run took before it had a checkpoint; else a new one, kept for later
    tries: the date (UTC), and a token."""
    path = folder / RUN_ID
    made = f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(4)}"
    try:
        if not path.exists():
            with written_whole(path) as temporary:
                temporary.write_text(made)
        return path.read_text().strip() or made
    except OSError as error:
        log.warning("%s cannot be written (%s): a later try of this run may get another name.", path, error)
        return made


def _shown_name(config: Config, run_id: str) -> str:
    """Return the run's name and the date of its beginning, which its id keeps however often it is resumed."""
    day, _, _ = run_id.rpartition("-")
    return f"{config.name} {day}".rstrip()


def read_metrics(path: Path) -> list[tuple[int, str, float]]:
    """Return the rows (step, name, value) of a `metrics.csv`; none if there is no file. A torn last row is left out."""
    if not path.exists():
        return []
    with path.open(newline="", errors="replace") as file:
        return list(_whole_rows(csv.reader(file)))


def _whole_rows(lines: Iterable[list[str]]) -> Iterable[tuple[int, str, float]]:
    rows = iter(lines)
    while True:
        try:
            step, name, value = next(rows)
            yield int(step), name, float(value)
        except StopIteration:
            return
        except (ValueError, csv.Error):
            continue  # the heading, or a row that a killed process or a bad disk left


def _start_wandb(config: Config, folder: Path, run_id: str) -> Any:
    mode = config.tracking.wandb
    if mode == "auto":
        mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    if mode == "off":
        return None
    try:
        import wandb

        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        return wandb.init(
            project=config.tracking.project,
            name=_shown_name(config, run_id),
            id=run_id,
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=folder,
            config=json.loads(json.dumps(config, default=vars)),
            settings=settings,
        )
    except Exception as error:  # a tracker is a copy; whatever it fails with must not stop training
        log.warning("Weights & Biases is off for this run: %s. metrics.csv has everything.", error)
        return None


def _start_mlflow(config: Config, run_id: str) -> MlflowCopy | None:
    address = os.environ.get(ADDRESS, "")
    if config.tracking.mlflow == "off" or not address.startswith("http"):
        return None  # MLflow's client takes folders and databases for addresses, too: those are not its server's
    try:
        parameters = json.loads(json.dumps(config, default=vars))
        return MlflowCopy(address, config.tracking.project, _shown_name(config, run_id), run_id, parameters)
    except Exception as error:  # as above
        log.warning("MLflow is off for this run: %s. metrics.csv has everything.", error)
        return None
