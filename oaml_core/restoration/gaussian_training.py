"""Fitting a Gaussian prior to aligned tiles: one look at all of them, minutes at most, no steps of an optimiser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from oaml_core.config import Config
from oaml_core.errors import DataError
from oaml_core.progress import progress
from oaml_core.restoration.evaluate import CAMERAS, hidden_middle
from oaml_core.restoration.gaussian_prior import GaussianPrior
from oaml_core.restoration.measurement import Identity, measure
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.tiles import Tiles
from oaml_core.restoration.validation import centre, spread
from oaml_core.settings import config_to_yaml
from oaml_core.tracking import Tracker
from oaml_core.training.keeper import CheckpointKeeper

log = logging.getLogger(__name__)

RANK = 256
"""Dimensions of z, at most. The time of a restored tile grows with the square."""
SPARE, ROUNDS = 16, 5
"""Further directions and rounds of the search for principal components (Halko et al. 2011)."""
HELD_OUT = 0.1
"""Share of the tiles, the last ones, that variances are taken from: directions fit the tiles that they were learnt from
too well. Faces are in the order of people, so that these show other people."""
MOST_BYTES = 2**30
"""Memory for the tiles that are learnt from, in half precision; of more tiles an even choice is taken."""
HALVINGS = 16
"""τ is at least 2 to the minus this: far below the share of a face that could be alike."""
CALIBRATED_ON, SAMPLES = 12, 32
"""Held-out tiles, and samples of each, by which τ is chosen."""
AT_A_TIME = 256
"""Tiles multiplied together."""
LEAST_VARIANCE = (2 / 255) ** 2 / 12
"""Variance of e at least: rounding to 8 bits."""


def train_gaussian(
    config: Config, tiles: Tiles, fingerprint: str, run_dir: Path, keeper: CheckpointKeeper
) -> dict[str, float]:
    """Fit a Gaussian prior and keep it as the run's checkpoint.

    Args:
        config: `restoration.tile_size` and `restoration.xflip` count.
        tiles: to learn from.
        fingerprint: of these tiles.
        run_dir: folder of the run.
        keeper: of the run's checkpoints.

    Returns:
        `kimg`, thousands of tiles; `components`; `explained`, the share of held-out variance that these explain.

    Raises:
        DataError: as `fit_gaussian`.
    """
    restoration = config.restoration
    prior = fit_gaussian(tiles, restoration.tile_size, mirrored=restoration.xflip, seed=config.seed)
    inside, outside = float(prior.components.square().sum()), float(prior.rest.sum())
    metrics = {
        "kimg": len(tiles) / 1000,
        "components": prior.components.shape[1],
        "explained": inside / (inside + outside),
    }
    log.info(
        "%d components explain %.1f %% of held-out tiles; values count as %.3g of independent ones",
        metrics["components"],
        100 * metrics["explained"],
        float(prior.evidence),
    )
    tracker = Tracker(config, run_dir)
    tracker.log(1, metrics)
    tracker.close()
    state = {
        "gaussian": dict(prior.state_dict()),
        "position": {"images": len(tiles)},
        "config": config_to_yaml(config),
        "fingerprint": fingerprint,
    }
    keeper.save(state, 1, best=True)
    keeper.wait()
    return metrics


def fit_gaussian(tiles: Tiles, size: int, *, mirrored: bool, rank: int = RANK, seed: int = 0) -> GaussianPrior:
    """Fit μ, W and ψ to the middles of aligned tiles, and τ to covered thirds of held-out ones.

    Args:
        tiles: at least 3, each of at least `size` pixels.
        size: side of the middles.
        mirrored: learn from every tile's mirror image as well.
        rank: dimensions of z, at most; fewer tiles give fewer.
        seed: of the search's start.

    Raises:
        DataError: there are fewer than 3 tiles, or one is too small.
    """
    images = _middles(tiles, size)
    held = max(1, round(HELD_OUT * len(images)))
    mean = images.mean(0, dtype=torch.float32)
    if mirrored:
        mean = (mean + mean.flip(2)) / 2
    count = min(rank, len(images) - held - 1, mean.numel() - 1)
    directions = torch.randn(
        mean.numel(), min(count + SPARE, mean.numel()), generator=torch.Generator().manual_seed(seed)
    )
    for _ in progress(range(ROUNDS), ROUNDS, "searching components"):
        basis, found = torch.linalg.qr(directions).Q, torch.zeros_like(directions)
        for block in _blocks(images[:-held], mean, mirrored):
            found += block.T @ (block @ basis)
        directions = found
    basis = torch.linalg.svd(directions, full_matrices=False).U[:, :count]
    inside, outside, total = torch.zeros(count), torch.zeros(mean.numel()), 0
    for block in _blocks(images[-held:], mean, mirrored):
        coordinates = block @ basis
        inside += coordinates.square().sum(0)
        outside += (block - coordinates @ basis.T).square().sum(0)
        total += len(block)
    # What lies outside the components is `mean.numel() - count` of all dimensions of e.
    rest = (outside / total * mean.numel() / (mean.numel() - count)).clamp_min(LEAST_VARIANCE)
    scales = (inside / total - rest.mean()).clamp_min(0).sqrt()
    prior = GaussianPrior(mean, basis * scales, rest.view_as(mean))
    some = [len(images) - held + i for i in spread(held, CALIBRATED_ON)]
    prior.evidence.fill_(_evidence(prior, images[some].float(), seed))
    return prior


def _evidence(prior: GaussianPrior, tiles: Tensor, seed: int) -> float:
    """Return the power of 2, at most 1, as τ under which covered thirds of held-out tiles are most likely.

    Likelihood, of each value by itself, rewards small errors and right deviations alike. Right deviations alone would
    be had for nothing: of τ = 0, which learns nothing from what is visible.
    """

    @cache
    def surprise(halvings: int) -> float:
        prior.evidence.fill_(0.5**halvings)
        found = _surprise(prior, tiles, seed)
        log.info("Values counted as %.3g of independent ones: −2 ln p of covered ones is %.3f", 0.5**halvings, found)
        return found

    best = 0
    # Long steps first: a look at all tiles takes seconds.
    for step in (4, 2, 1):
        while (nearby := min(best, *_beside(best, step), key=surprise)) != best:
            best = nearby
    if best == HALVINGS:
        log.warning("Visible parts of these tiles tell next to nothing of covered ones; are the tiles aligned?")
    return float(0.5**best)


def _beside(number: int, step: int) -> list[int]:
    """Return the numbers a step away from 0 … `HALVINGS` that are in this range, or its ends."""
    return [max(0, number - step), min(HALVINGS, number + step)]


def _surprise(prior: GaussianPrior, tiles: Tensor, seed: int) -> float:
    """Return the mean of −ln p, up to a constant, of the values that are covered, each third of the tiles in turn."""
    third, middle = tiles.shape[2] // 3, hidden_middle(tiles)
    total = count = 0.0
    for number, seen in enumerate((middle, middle.roll(third, 2), middle.roll(-third, 2))):
        measured = measure(tiles, Identity(), CAMERAS["light"], generator_of("measured", seed, number), seen)
        draws = [generator_of("sample", seed, number, i) for i in range(SAMPLES)]
        mean, samples = prior.posterior(measured, 1.0, draws)
        hidden = (seen == 0).expand_as(tiles)
        variance = (samples - mean).square().mean(0)[hidden]
        # The inverse of a variance of n draws is n / (n − 2) times that of the true one.
        squares = (1 - 2 / SAMPLES) * (mean - tiles)[hidden].square() / variance
        total += float((squares + variance.log()).sum())
        count += len(variance)
    return total / count


def _middles(tiles: Tiles, size: int) -> Tensor:
    """Return an even choice of the tiles' middles as float16 [n, C, size, size]."""
    if len(tiles) < 3:
        raise DataError(f"A Gaussian prior needs at least 3 tiles to learn from; there are {len(tiles)}.")
    shape = centre(tiles.read(0), size).shape
    chosen = spread(len(tiles), max(3, MOST_BYTES // (2 * shape.numel())))
    images = torch.empty(len(chosen), *shape, dtype=torch.float16)
    for row, index in enumerate(progress(chosen, len(chosen), "reading tiles")):
        images[row] = centre(tiles.read(index), size)
    return images


def _blocks(images: Tensor, mean: Tensor, mirrored: bool) -> Iterator[Tensor]:
    """Yield float32 [n, C·H·W] less the mean, some tiles at a time, and their mirror images."""
    for block in images.split(AT_A_TIME):
        for some in (block, block.flip(3)) if mirrored else (block,):
            yield (some.float() - mean).flatten(1)
