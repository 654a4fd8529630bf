"""`python -m pipelines.schedule --config RECIPE --cron "0 2 * * *"`: the pipeline every night on Kubeflow.

One run at a time, nights that were missed are not caught up, and steps whose inputs are the same are taken from the
cache. Kubeflow has no way to change a recurring run: a new one takes the place of the old, which goes last.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oaml_core.errors import ConfigError, OamlError
from oaml_core.orderly_end import end_in_order
from pipelines.kubeflow import Kubeflow, ask, tell
from pipelines.submit import RunArguments, options, prepared

NAME = "oaml-nightly"
OFF = "off"
FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 6),
)
"""Fields of the expressions that Kubeflow reads, with their ranges: https://pkg.go.dev/github.com/robfig/cron."""
NAMES = {
    "month": ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    "day of the week": ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
}
ITEM = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def six_fields(expression: str) -> str:
    """Return a cron expression as Kubeflow reads it, seconds first; five fields run at second 0.

    Raises:
        ConfigError: it has another number of fields, or a value out of its range.
    """
    fields = expression.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ConfigError(
            f"{expression!r} is no cron expression: give five fields (minute, hour, day of the month, month, day of "
            'the week), such as "0 2 * * *" for two o\'clock every night (UTC), or six, with seconds first.'
        )
    for text, (name, lowest, highest) in zip(fields, FIELDS, strict=True):
        for item in text.split(","):
            found = ITEM.fullmatch(item)
            ends = [_number(end, name, lowest) for end in found.groups()[:2] if end] if found else [None]
            if any(end is None or not lowest <= end <= highest for end in ends) or ends != sorted(ends):  # type: ignore[type-var]
                raise ConfigError(f"{expression!r}: {item!r} is no {name}; it is a number from {lowest} to {highest}.")
            if found and found[3] == "0":
                raise ConfigError(f"{expression!r}: {item!r}: steps begin at 1.")
    return " ".join(fields)


def schedule(recipe: Path, overrides: Sequence[str], cluster: Path, experiment: str, cron: str) -> str:
    """Create the recurring run, or put it in the place of the one that is there; says what was done.

    Raises:
        ConfigError: the recipe, the cluster file or `cron` is wrong. ClusterError: Kubeflow does not answer or refuses.
    """
    fields = None if cron == OFF else six_fields(cron)
    made = prepared(recipe, overrides, cluster, experiment)
    old = _recurring(made.kubeflow, made.experiment)
    if fields is not None and len(old) == 1 and _is_same(old[0], made, fields):
        return f"{NAME}: runs at {fields} (UTC) already, unchanged"
    if fields is not None:
        _create(made, fields)
    for each in old:
        tell(
            "remove the old recurring run",
            lambda each=each: made.kubeflow.client.delete_recurring_run(each.recurring_run_id),  # type: ignore[misc]
        )
    if fields is None:
        return f"{NAME}: runs no longer" if old else f"{NAME}: there was none"
    return f"{NAME}: {'now ' if old else ''}runs at {fields} (UTC)"


def _create(made: RunArguments, fields: str) -> None:
    tell(
        "create the recurring run",
        lambda: made.kubeflow.client.create_recurring_run(
            made.experiment,
            NAME,
            description="Retrains, proves and promotes; see the report of each run.",
            cron_expression=fields,
            max_concurrency=1,
            no_catchup=True,
            params=made.parameters,
            pipeline_id=made.pipeline,
            version_id=made.version,
            service_account=made.service_account,
        ),
    )


def _recurring(kubeflow: Kubeflow, experiment: str) -> list[Any]:
    """Recurring runs of our name."""
    found: list[Any] = []
    page = ""
    while True:
        listed = ask(
            "list recurring runs",
            lambda page=page: kubeflow.client.list_recurring_runs(page, 100, experiment_id=experiment),  # type: ignore[misc]
        )
        found += [each for each in listed.recurring_runs or [] if each.display_name == NAME]
        if not (page := listed.next_page_token or ""):
            return found


def _is_same(there: Any, made: RunArguments, fields: str) -> bool:
    reference, runtime = there.pipeline_version_reference, there.runtime_config
    return (
        there.trigger.cron_schedule.cron == fields
        and reference is not None
        and reference.pipeline_version_id == made.version
        and runtime is not None
        and runtime.parameters == made.parameters
        and (made.service_account is None or there.service_account == made.service_account)
        and there.mode == "ENABLE"
    )


def _number(text: str, name: str, lowest: int) -> int | None:
    if text.isdigit():
        return int(text)
    names = NAMES.get(name, [])
    return names.index(text.upper()) + lowest if text.upper() in names else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Schedule as the command line says; exits 0, 1 for an error, 2 for a mistyped command line or recipe."""
    parser = options("Run the pipeline on Kubeflow at fixed times.", "python -m pipelines.schedule")
    parser.add_argument("--cron", required=True, help=f"five or six fields, in UTC; {OFF}: no longer")
    given, overrides = parser.parse_known_args(arguments)
    try:
        print(schedule(given.config, overrides, given.cluster, given.experiment, given.cron))
    except OamlError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    end_in_order(main)
