"""The prior as a whole: its network from a configuration, and a trained one from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from oaml_core.config import Config, RestorationConfig
from oaml_core.errors import CheckpointError
from oaml_core.restoration.edm import Preconditioned
from oaml_core.restoration.gaussian_prior import GaussianPrior
from oaml_core.restoration.unet import UNet
from oaml_core.settings import config_from_yaml
from oaml_core.training.checkpoints import read_checkpoint, using_content


class Prior(Preconditioned):
    """Denoiser D(x; σ), conditioned on labels where the prior has domains."""

    network: UNet

    def __init__(self, config: RestorationConfig, label_dim: int) -> None:
        network = UNet(
            model_channels=config.model_channels,
            channel_mult=config.channel_mult,
            num_blocks=config.num_blocks,
            attention_levels=config.attention_levels,
            label_dim=label_dim,
            dropout=config.dropout,
        )
        super().__init__(network, config.sigma_data)
        self.label_dim = label_dim


@dataclass(frozen=True)
class TrainedPrior:
    """A prior as training left it, with the averaged weights where a network was trained."""

    prior: Prior | GaussianPrior
    config: Config
    fingerprint: str
    """Fingerprint of the tiles that it learnt from."""
    images_seen: int

    @property
    def side(self) -> int | None:
        """Return the side of the only tiles that it restores; None: it restores tiles of any size."""
        return self.prior.mean.shape[1] if isinstance(self.prior, GaussianPrior) else None


def load_prior(path: Path, device: str = "cpu") -> TrainedPrior:
    """Return the prior in a checkpoint, ready to sample; of a network the weights' moving average.

    Raises:
        CheckpointError: there is no such file, or it is a checkpoint of something else.
    """
    state: dict[str, Any] = read_checkpoint(path)
    if "ema" not in state and "gaussian" not in state:
        raise CheckpointError(f"{path} is no checkpoint of a prior; `oaml restore train` makes those.")
    with using_content(path):
        config = config_from_yaml(state["config"])
        prior: Prior | GaussianPrior
        if "gaussian" in state:
            prior = GaussianPrior(**state["gaussian"])
        else:
            prior = Prior(config.restoration, len(state["domains"]))
            prior.load_state_dict(state["ema"])
        prior.eval().requires_grad_(False)
        return TrainedPrior(prior.to(device), config, state["fingerprint"], state["position"]["images"])


def parameter_count(prior: torch.nn.Module) -> int:
    """Return numbers that are learnt."""
    return sum(p.numel() for p in prior.parameters())
