"""Checkpoints of what stands on a frozen backbone, and their mean: for `benchmarks/occlusion.py`."""

from __future__ import annotations

from pathlib import Path

from occlusion_features import Work
from torch import nn

from oaml_core.settings import config_to_yaml
from oaml_core.training.checkpoints import read_checkpoint, write_checkpoint


def save(work: Work, step: int) -> None:
    module = {f"recogniser.{name}": value for name, value in work.model.state_dict().items()}
    state = {"module": module, "config": config_to_yaml(work.config), "position": {"step": step}}
    write_checkpoint(state | {"fingerprint": work.dataset.manifest.fingerprint}, work.folder / "best.ckpt")


def load(work: Work, checkpoint: Path) -> None:
    """Take a checkpoint's weights; if it has fewer local layers, they are the last, and the rest the backbone's."""
    module = read_checkpoint(checkpoint)["module"]
    state = {name.removeprefix("recogniser."): value for name, value in module.items()}
    layers = {name: name.removeprefix("local_layers.").split(".", 1) for name in state if name.startswith("local_")}
    assert work.model.local_layers is not None
    # The last layer, an activation, has weights: its number says how many layers there are.
    more = len(work.model.local_layers) - 1 - max(int(number) for number, _ in layers.values())
    moved = {f"local_layers.{int(number) + more}.{rest}": state.pop(name) for name, (number, rest) in layers.items()}
    layers_of_the_backbone = work.model.backbone.layers()[-len(work.model.local_layers) :]
    work.model.local_layers.load_state_dict(nn.Sequential(*layers_of_the_backbone).state_dict())
    work.model.load_state_dict(work.model.state_dict() | state | moved)


def average(work: Work, one: Path, other: Path) -> None:
    """Write the mean of two checkpoints' weights (Wortsman et al. 2022, robust fine-tuning by weight averaging)."""
    load(work, one)
    first = {name: value.clone() for name, value in work.model.state_dict().items()}
    load(work, other)
    second = work.model.state_dict()
    mean = {name: (value + second[name]) / 2 if value.is_floating_point() else value for name, value in first.items()}
    work.model.load_state_dict(mean)
    save(work, 0)
