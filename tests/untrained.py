"""A checkpoint that nobody trained: the form of a model without its hours."""

from __future__ import annotations

from pathlib import Path

import torch

from oaml_core.config import Config
from oaml_core.models.recogniser import build_recogniser
from oaml_core.settings import config_to_yaml
from oaml_core.training.checkpoints import write_checkpoint


def write_untrained(config: Config, path: Path) -> Path:
    """Write a checkpoint of the recogniser that `config` describes, with its first weights."""
    torch.manual_seed(0)
    weights = {f"recogniser.{name}": value for name, value in build_recogniser(config.model).state_dict().items()}
    write_checkpoint(
        {"config": config_to_yaml(config), "module": weights, "fingerprint": "f", "position": {"step": 1}}, path
    )
    return path
