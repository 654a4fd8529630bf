"""Stores of runs on one machine: one per recipe and per faces, so that a model is judged against its own kind alone.

They lie in one bucket, which the embedded server keeps as plain files below `work_dir`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from oaml_core.config import Config
from oaml_core.settings import digest

BUCKET = "s3://oaml"
_BELOW = "s3/oaml"
"""The bucket below `work_dir`."""
_PRODUCTION = "models/production.json"
TRIAL = "smoke"
"""Recipe that only shows that every stage runs; its model answers where there is no other."""


class LocalRun(NamedTuple):
    """A store that a local run left."""

    folder: Path
    """Its files."""
    uri: str
    """Its address while the run's server was up; addresses inside the store begin with it."""


def store_of_local_run(config: Config) -> str:
    """Return the address of the store that a run on this machine keeps its results in.

    Args:
        config: `name` names the recipe; runs on other faces than drawn ones have a store for each place of faces.
    """
    sources = [one for one in (config.data.source, config.data.verification_source) if one is not None]
    places = [one if "://" in one else str(Path(one).resolve()) for one in sources]
    return f"{BUCKET}/{config.name}-{digest(places)[:8]}" if places else f"{BUCKET}/{config.name}"


def latest_local_run(work_dir: Path) -> LocalRun | None:
    """Return the store whose model a local run brought into production last; that of `TRIAL` only without others."""
    bucket = work_dir / _BELOW
    if not bucket.is_dir():
        return None
    folders = [bucket, *(path for path in bucket.iterdir() if path.is_dir())]
    promoted = [folder for folder in folders if (folder / _PRODUCTION).is_file()]
    if not promoted:
        return None
    latest = max(promoted, key=lambda folder: (not _is_trial(folder.name), (folder / _PRODUCTION).stat().st_mtime_ns))
    return LocalRun(latest, BUCKET if latest == bucket else f"{BUCKET}/{latest.name}")


def _is_trial(name: str) -> bool:
    return name == TRIAL or name.startswith(f"{TRIAL}-")
