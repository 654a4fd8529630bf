"""Configuration of unattended runs: when a night does not begin, and what stops it before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class NightlyConfig:
    """Guards of runs that nobody watches; a run that somebody starts by hand is a night too."""

    stop_after_failures: int = 0
    """Nights in a row that may fail before no further one begins, until `oaml nightly resume`; 0: any number."""
    least_new_images: int = 0
    """Images that must have come since the model in production was trained; with fewer, the night uses that model's
    data set again, and later steps have nothing to do. 0: any change of the data is trained on."""
    least_free_gb: float = 0.0
    """Gigabytes that must be free below work_dir, and in a store that is a folder, before a night begins."""
    most_gpu_hours_per_night: float = 0.0
    """GPU-hours that a night may cost: when they are spent, training ends after a checkpoint, no further step begins,
    and production stays as it is. 0: any number."""
    most_core_hours_per_night: float = 0.0
    """Core-hours that the steps of a night without a GPU may cost; then it ends as with `most_gpu_hours_per_night`.
    0: any number."""
    most_gpu_hours_per_month: float = 0.0
    """GPU-hours that all runs of this name may cost in a calendar month (UTC). No night begins when they are spent, or
    when less is left than the last nights needed; a night under way ends as with `most_gpu_hours_per_night`. 0: any
    number."""
    most_core_hours_per_month: float = 0.0
    """Core-hours that all steps of this name without a GPU may cost in a calendar month (UTC), as with
    `most_gpu_hours_per_month`. 0: any number."""
    drift: Literal["off", "warn", "stop"] = "off"
    """Answer to a night whose faces are unlike those that the model in production was trained on: `stop` ends the
    night before training, `warn` says so and goes on."""
    drift_images: int = 2000
    """Faces of each data set that are measured for that, 100 or more."""
    largest_drift: float = 0.25
    """Population stability index, more than 0, whose excess in any measure counts as drift. Customary: below 0.1 no
    shift, above 0.25 a large one."""


def check_nightly(nightly: NightlyConfig) -> None:
    """Refuse guards that cannot be.

    Raises:
        ConfigError: names the key to change.
    """
    check_positive({"nightly.largest_drift": nightly.largest_drift})
    budgets = [f"most_{unit}_per_{period}" for period in ("night", "month") for unit in ("gpu_hours", "core_hours")]
    for name in ("stop_after_failures", "least_new_images", "least_free_gb", *budgets):
        if getattr(nightly, name) < 0:
            raise ConfigError(f"nightly.{name} is {getattr(nightly, name)}; it must be 0 or more.")
    if nightly.drift_images < 100:
        raise ConfigError(f"nightly.drift_images is {nightly.drift_images}; fewer than 100 faces show no drift.")
    for unit in ("gpu_hours", "core_hours"):
        night, month = (getattr(nightly, f"most_{unit}_per_{period}") for period in ("night", "month"))
        if night > month > 0:
            raise ConfigError(
                f"nightly.most_{unit}_per_night is {night:g}, more than nightly.most_{unit}_per_month, {month:g}: "
                "lower the first or raise the second."
            )
