"""The part of the configuration that restoration has; see `oaml_core.config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.amounts import amount
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class RestorationConfig:
    """The diffusion prior of clean tiles (EDM, Karras et al. 2022), and sampling given a measurement."""

    tiles: str | None = None
    """Folder of `.pt` tiles with a `metadata.json`; None: the training faces of `data`."""
    metadata: str | None = None
    """JSON file that lists the tiles; None: `metadata.json` in their folder."""
    domain: str | None = None
    """Only tiles of this domain; None: all."""
    use_labels: bool = False
    """Condition the prior on each tile's domain."""
    tile_size: int = 64
    """Side, in pixels, of the random crops that the prior learns from; it restores larger tiles, too."""
    model_channels: int = 128
    """Channels of the network's first level."""
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    """Factor of each level; each level after the first halves the map."""
    num_blocks: int = 4
    """Residual blocks a level."""
    attention_levels: tuple[int, ...] = (2,)
    """Levels, 0 = full resolution, whose blocks attend over the whole map."""
    dropout: float = 0.13
    """Share of activations dropped in training."""
    xflip: bool = True
    """Mirror half of the training tiles."""
    batch: int = 256
    """Tiles in a global batch, over all workers."""
    batch_gpu: int = 0
    """Tiles that a worker takes at a time; 0: its whole share of the batch."""
    total_kimg: float = 50_000.0
    """Length of the training in thousands of tiles."""
    kimg_per_tick: float = 50.0
    """Thousands of tiles between two lines of progress."""
    snapshot_ticks: int = 50
    """Ticks between two checkpoints; one is also written every train.checkpoint_every_seconds."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    lr_rampup_kimg: float = 10_000.0
    """Thousands of tiles over which the learning rate rises from 0."""
    ema_halflife_kimg: float = 500.0
    """Half-life of the weights' moving average in thousands of tiles."""
    ema_rampup_ratio: float = 0.05
    """The half-life is at most this share of the tiles seen; 0: always the full one."""
    p_mean: float = -1.2
    """Mean of ln σ in training."""
    p_std: float = 1.2
    """Standard deviation of ln σ in training."""
    sigma_data: float = 0.5
    """Standard deviation of clean tiles."""
    method: Literal["mmps", "gaussian"] = "mmps"
    """Kind of prior: `mmps`, a diffusion prior whose posterior is sampled by moment matching; `gaussian`, one Gaussian
    of aligned tiles, such as faces, whose posterior is known: samples a hundred times as fast, and softer."""
    guidance: float = 1.0
    """Strength of the measurement; 1: as its noise says."""
    steps: int = 24
    """Noise levels that sampling goes through; below 12 the samples scatter too widely."""
    samples: int = 4
    """Posterior samples of each tile: their mean is the restored tile, their deviation its uncertainty."""
    sigma_min: float = 0.002
    """Smallest noise level of sampling."""
    sigma_max: float = 10.0
    """Largest noise level of sampling; EDM's own is 80, which samples that a measurement ties down do not need."""
    noise_a: float | None = None
    """Variance of the measurement's noise per signal, black 0 and white 1; None: estimated from the image."""
    noise_b: float | None = None
    """Variance of the noise of black; None: estimated from the image."""
    validation_tiles: int = 16
    """Tiles of split `validation` whose PSNR and SSIM training measures at every tick; 0: none."""
    test_tiles: int = 32
    """Tiles that evaluation restores, none of them trained on."""
    test_pairs: int = 100
    """Verification pairs whose second face evaluation darkens and restores, where a recogniser is given; 0: none."""
    test_covered_pairs: int = 0
    """Pairs whose second face is covered across the middle and filled in; 0: none. Networks take seconds per sample."""


def check_restoration(config: RestorationConfig) -> None:
    """Refuse values that cannot work, naming the key to change.

    Raises:
        ConfigError: a value is out of its range, or two do not fit together.
    """
    positive = (
        *("tile_size", "model_channels", "num_blocks", "batch", "total_kimg", "kimg_per_tick", "snapshot_ticks", "lr"),
        *("ema_halflife_kimg", "p_std", "sigma_data", "guidance", "steps", "samples", "sigma_min"),
        "test_tiles",
    )
    for name in positive:
        if getattr(config, name) <= 0:
            raise ConfigError(f"restoration.{name} is {getattr(config, name)}; it must be greater than 0.")
    for name in (
        "batch_gpu",
        "lr_rampup_kimg",
        "ema_rampup_ratio",
        "noise_a",
        "noise_b",
        "test_pairs",
        "test_covered_pairs",
        "validation_tiles",
    ):
        if (getattr(config, name) or 0) < 0:
            raise ConfigError(f"restoration.{name} is {getattr(config, name)}; it must not be negative.")
    if config.use_labels and config.method == "gaussian":
        raise ConfigError("restoration.use_labels needs restoration.method mmps: a Gaussian prior has no labels.")
    if not 0.0 <= config.dropout < 1.0:
        raise ConfigError(f"restoration.dropout is {config.dropout}; it is a share and must lie in [0, 1).")
    if config.sigma_max <= config.sigma_min:
        raise ConfigError(
            f"restoration.sigma_max {config.sigma_max} must be greater than restoration.sigma_min {config.sigma_min}."
        )
    halvings = len(config.channel_mult) - 1
    if halvings < 0 or config.tile_size % 2**halvings:
        raise ConfigError(
            f"restoration.tile_size {config.tile_size} cannot be halved {amount(halvings, 'time')}, as "
            f"restoration.channel_mult {list(config.channel_mult)} wants; take a multiple of {2 ** max(0, halvings)}."
        )
    if wrong := [level for level in config.attention_levels if not 0 <= level <= halvings]:
        raise ConfigError(f"restoration.attention_levels has {wrong[0]}; there are the levels 0 to {halvings}.")
    if (config.noise_a is None) != (config.noise_b is None):
        raise ConfigError("restoration.noise_a and restoration.noise_b go together: give both, or neither.")
