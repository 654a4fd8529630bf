"""A trained recogniser, back from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from oaml_core.config import Config
from oaml_core.models.recogniser import Recogniser, build_recogniser
from oaml_core.settings import config_from_yaml
from oaml_core.training.checkpoints import read_checkpoint, using_content

PREFIX = "recogniser."


@dataclass(frozen=True)
class TrainedModel:
    """A recogniser and where it comes from."""

    recogniser: Recogniser
    """In evaluation mode, on the CPU."""
    config: Config
    """Configuration that it was trained with."""
    fingerprint: str
    """Fingerprint of the data set that it was trained on."""
    step: int


def load_trained(path: Path) -> TrainedModel:
    """Return the recogniser in checkpoint `path`.

    Raises:
        CheckpointError: the file is missing, damaged or not an OAML checkpoint.
    """
    state = read_checkpoint(path)
    with using_content(path):
        config = config_from_yaml(state["config"])
        # The checkpoint has all weights; those that training started from need not be there any more.
        recogniser = build_recogniser(replace(config.model, weights=None), config.data.image_size)
        weights = {key.removeprefix(PREFIX): value for key, value in state["module"].items() if key.startswith(PREFIX)}
        if (average := state.get("average")) is not None:
            weights |= average["used"]
        recogniser.load_state_dict(weights)
        return TrainedModel(recogniser.eval(), config, state["fingerprint"], state["position"]["step"])
