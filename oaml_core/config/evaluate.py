"""Configuration of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive
from oaml_core.config.occluders import Sides, check_occluders
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the evaluation: sets, conditions, statistics, and weights of the combined score."""

    adaface_weight: float = 0.5
    """Weight of the global score in the combined one."""
    qaconv_weight: float = 0.5
    """Weight of the local score."""
    fusion: Literal["fixed", "llr"] = "fixed"
    """What decides in the exported model: the combined score of the `fixed` weights above, or the calibrated
    score, a log-likelihood ratio of all evidence (`llr`) measured against impostors of the same visibility. Both are
    reported."""
    strangers: int = 0
    """People of the training set, 2,048 say, by whose faces the combined score is measured, so that one threshold asks
    for one false accept rate whatever covers a face; for models that compare one vector a face, from 512 people on.
    0: the score is the weighted mean."""
    occluders: tuple[str, ...] = ("surgical", "veil", "sunglasses")
    """Occluders on the pairs, one condition each, beside `clean`: drawn ones (`mask` is any mask), held-out cut-outs of
    `data.occluders` (`cutout:mask`), or several together (`mask+sunglasses`)."""
    block_shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    """Shares of the image, in (0, 0.9], that drawn blocks cover, one condition each."""
    sides: tuple[Sides, ...] = ("second", "both")
    """Images of a pair that are covered: the second alone, both (each by its own drawing), or one after the other."""
    far: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    """False accept rates at which TAR is reported, where the impostor pairs are enough."""
    batch_size: int = 256
    """Images a forward pass."""
    exact_far: float | None = None
    """False accept rate up to which TAR over all pairs of a folder of one's own is exact, in memory that grows with
    the square of its images (0.1: about 13 GiB for 100,000); None: exact as far as 2 million accepted impostors, and
    with its error beyond."""
    matrix_images: int = 2000
    """Images of a folder of one's own up to which all scores are written as matrices, 4 bytes per pair and score."""
    pictures: int = 8
    """Pairs of each verification set, about so many, that the report shows; 0 for faces that must not be shared."""


def check_evaluate(evaluate: EvaluateConfig, cutouts: str | None = None) -> None:
    """Refuse values of `evaluate` that cannot work.

    Args:
        evaluate: values to check.
        cutouts: `data.occluders`.

    Raises:
        ConfigError: names the key to change.
    """
    check_positive({"evaluate.batch_size": evaluate.batch_size})
    check_occluders(evaluate.occluders, "evaluate.occluders", cutouts)
    for share in evaluate.block_shares:
        if not 0.0 < share <= 0.9:
            raise ConfigError(f"evaluate.block_shares has {share}; shares of the image lie in (0, 0.9].")
    for rate in evaluate.far:
        if not 0.0 < rate <= 1.0:
            raise ConfigError(f"evaluate.far has {rate}; false accept rates lie in (0, 1].")
    if evaluate.exact_far is not None and not 0.0 < evaluate.exact_far <= 1.0:
        raise ConfigError(f"evaluate.exact_far is {evaluate.exact_far}; false accept rates lie in (0, 1].")
    if not evaluate.far:
        raise ConfigError("evaluate.far is empty; name at least one false accept rate, such as 1e-3.")
    if evaluate.strangers < 0:
        raise ConfigError(f"evaluate.strangers is {evaluate.strangers}; it is a number of people, 0 or more.")
    if evaluate.pictures < 0:
        raise ConfigError(f"evaluate.pictures is {evaluate.pictures}; it is a number of pairs, 0 or more.")
