"""Mean of a run's weights: over the steps, and with the weights that it started from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

RISE = 10
"""Steps after which half of the first ones' weight is gone: early on the mean follows closely (as in TensorFlow)."""


FRESH = ("visibility_head.",)
"""Parts of the recogniser that no pretrained weights start."""


class AveragedWeights:
    """Exponential moving average of the trained parameters, mixed with the weights before training.

    mean ← d·mean + (1 − d)·weights,  d = min(decay, (1 + steps) / (RISE + steps))
    used  = (1 − share)·mean + share·start; of `fresh` parameters, used = mean

    Wortsman et al. 2022 (robust fine-tuning) mix with the start. Buffers, such as running statistics, stay the last.

    Args:
        module: whose parameters with gradient are averaged; its weights now are the start.
        decay: d above, in [0, 1).
        share: of the start, in [0, 1).
        fresh: beginnings of names of parameters that start at random: to mix those in would only add noise.
    """

    def __init__(self, module: nn.Module, decay: float, share: float, fresh: tuple[str, ...] = ()) -> None:
        self.module, self.decay, self.share, self.fresh = module, decay, share, fresh
        self.steps = 0
        self.restart()

    def restart(self) -> None:
        """Take the module's weights as they are now for the start, and for the mean."""
        self._start = {name: p.detach().clone() for name, p in self._trained().items()}
        self._mean = {name: p.clone() for name, p in self._start.items()}
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step; after one that was left out, the same weights again."""
        decay = min(self.decay, (1 + self.steps) / (RISE + self.steps))
        self.steps += 1
        for name, now in self._trained().items():
            self._mean[name].lerp_(now, 1 - decay)

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """Return the averaged parameters by name."""
        return {
            name: mean.clone() if name.startswith(self.fresh) else torch.lerp(mean, self._start[name], self.share)
            for name, mean in self._mean.items()
        }

    @torch.no_grad()
    def swap_in(self) -> dict[str, Tensor]:
        """Give the module the averaged weights, and return its own for `swap_out`."""
        own = {name: p.detach().clone() for name, p in self._trained().items()}
        self.swap_out(self.weights())
        return own

    @torch.no_grad()
    def swap_out(self, weights: Mapping[str, Tensor]) -> None:
        """Give the module `weights` by name."""
        for name, parameter in self._trained().items():
            parameter.copy_(weights[name])

    def tensors(self) -> list[Tensor]:
        """Return the start and the mean, which changes with every step."""
        return [*self._start.values(), *self._mean.values()]

    def state_dict(self) -> dict[str, object]:
        """Return what `load_state_dict` goes on from, and under `used` what evaluation takes."""
        return {"steps": self.steps, "start": self._start, "mean": self._mean, "used": self.weights()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a checkpoint."""
        steps, kept = state["steps"], {"start": self._start, "mean": self._mean}
        assert isinstance(steps, int)
        self.steps = steps
        for key, values in kept.items():
            saved = state[key]
            assert isinstance(saved, Mapping)
            for name, value in values.items():
                value.copy_(saved[name])

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}


def build_average(module: nn.Module, decay: float, share: float) -> AveragedWeights | None:
    """Build the mean that the configuration asks for; None if it asks for none."""
    return AveragedWeights(module, decay, share, FRESH) if decay > 0 or share > 0 else None
