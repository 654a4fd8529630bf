"""`oaml nightly status|resume` and `oaml drift`: runs that nobody watches, and the data that they get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.amounts import amount
from oaml_core.cli.command import Command
from oaml_core.config import Config
from oaml_core.errors import DataError, OamlError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _nightly(config: Config, options: Any) -> int:
    from oaml_core.notify import notify
    from oaml_core.stages.addresses import dated_name
    from oaml_core.stages.nightly_status import night_status
    from oaml_core.stages.nights import resume_nights

    if options.action == "resume":
        failed = resume_nights(config)
        after = f" after {amount(failed, 'failed one')}" if failed else ": the last one did not fail"
        print(f"nights of {config.name} begin{' again' if failed else ''}{after}")
        return 0
    try:
        status = night_status(config, options.hours)
    except (OamlError, OSError) as error:  # who watches and cannot see must not be silent
        if options.tell:
            notify(f"OAML, {dated_name(config)}: how nights end cannot be told: {error}", "NightOverdue")
        raise
    print("\n".join(status.lines))
    if not status.is_well and options.tell:
        notify(f"OAML, {dated_name(config)}: {status.lines[0]}", "NightOverdue")
    return 0 if status.is_well else 1


def _nightly_options(parser: ArgumentParser) -> None:
    from jsonargparse.typing import PositiveFloat

    parser.add_argument(
        "action", choices=("status", "resume"), help="say how nights have ended, or let them begin again"
    )
    parser.add_argument("--hours", type=PositiveFloat, default=26.0, help="time within which a run must have ended")
    parser.add_argument("--tell", action="store_true", help="tell the webhook what is wrong")


def _drift(config: Config, options: Any) -> int:
    from oaml_core.stages.drift_stage import data_set_in_production, measure_drift
    from oaml_core.stages.prepare_stage import prepare

    # First the reference: without one, nobody waits until tonight's data are prepared.
    other = options.against or data_set_in_production(config)
    if other is None:
        raise DataError("No model is in production whose data set could be compared with; name one: --against.")
    reference, given = _fingerprint(config, other), options.dataset
    fingerprint = _fingerprint(config, given) if given else prepare(config).fingerprint
    found = measure_drift(config, fingerprint, reference, options.onnx)
    print(found.summary)
    if found.shifted:
        print(f"\nshifted: {', '.join(found.shifted)}")
    return 1 if found.shifted else 0


def _fingerprint(config: Config, dataset: str) -> str:
    """Return the fingerprint of a data set of the store, which is named by its address or by the fingerprint itself.

    Raises:
        DataError: the store has no such data set.
    """
    from oaml_core.data.prepared.prepared import manifest_key
    from oaml_core.store import open_store

    store, fingerprint = open_store(config.store), dataset.rstrip("/").rpartition("/")[2]
    if not store.exists(manifest_key(fingerprint)):
        raise DataError(f"{store.uri} has no data set {fingerprint}: name one by the address that `oaml prepare` says.")
    return fingerprint


def _drift_options(parser: ArgumentParser) -> None:
    text = str | None
    parser.add_argument("--dataset", type=text, default=None, help="data set to judge; default: prepare data.source")
    parser.add_argument(
        "--against", type=text, default=None, help="reference; default: that of the model in production"
    )
    parser.add_argument(
        "--onnx", type=Path | None, default=None, help="model for norms and visible shares; default: none"
    )


COMMANDS = {
    "drift": Command("say whether the faces of two data sets look alike", _drift, _drift_options),
    "nightly": Command("say how runs that nobody watches have ended", _nightly, _nightly_options),
}
