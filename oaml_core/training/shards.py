"""The classifier that workers share out, whole in a checkpoint: as many workers as like may go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from oaml_core.models.sharded_classifier import ShardedClassifier, gather_rows
from oaml_core.training.row_sgd import MOMENTUM

State = dict[str, Any]


def whole_state(module: nn.Module, optimiser: Optimizer) -> tuple[State, State]:
    """States of `module` and `optimiser` with the classifier's rows of all workers, on the main worker's CPU.

    Every worker must call it; what the others get has none of the rows. A worker needs no more memory than for a share,
    the main one in the CPU's for the whole.
    """
    model, steps = module.state_dict(), optimiser.state_dict()
    if (name := sharded_rows(module)) is None:
        return model, steps
    number, count = _number(module, optimiser, name), _classifier(module, name).num_classes
    model[name] = gather_rows(model[name], count)
    if MOMENTUM in steps["state"].get(number, {}):
        # The optimiser's own state must stay as it is: only the copy of it has the whole.
        momentum = gather_rows(steps["state"][number][MOMENTUM], count)
        steps["state"] = steps["state"] | {number: {**steps["state"][number], MOMENTUM: momentum}}
    return model, steps


def own_weights(module: nn.Module, weights: Mapping[str, Any]) -> State:
    """Return this worker's part of a module's whole state, or of a part of that."""
    name = sharded_rows(module)
    if name is None or name not in weights:
        return dict(weights)
    own = _classifier(module, name).own
    return {**weights, name: weights[name][own.start : own.stop]}


def own_steps(module: nn.Module, optimiser: Optimizer, steps: Mapping[str, Any]) -> State:
    """Return this worker's part of an optimiser's whole state."""
    if (name := sharded_rows(module)) is None:
        return dict(steps)
    number, own = _number(module, optimiser, name), _classifier(module, name).own
    if MOMENTUM not in (values := steps["state"].get(number, {})):
        return dict(steps)
    # A copy, so that the whole can be given back.
    values = {**values, MOMENTUM: values[MOMENTUM][own.start : own.stop].clone()}
    return {**steps, "state": {**steps["state"], number: values}}


def sharded_rows(module: nn.Module) -> str | None:
    """Name of the parameter of which each worker has other rows; None if there is none."""
    names = [name for name, part in module.named_modules() if isinstance(part, ShardedClassifier)]
    return f"{names[0]}.rows" if names else None


def _classifier(module: nn.Module, name: str) -> ShardedClassifier:
    found = module.get_submodule(name.rpartition(".")[0])
    assert isinstance(found, ShardedClassifier)
    return found


def _number(module: nn.Module, optimiser: Optimizer, name: str) -> int:
    """Return number of the parameter `name` in the optimiser's state."""
    rows = module.get_parameter(name)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return next(number for number, parameter in enumerate(parameters) if parameter is rows)
