"""A run goes on from the checkpoint of another number of workers, as if it had always had these."""

from __future__ import annotations

from typing import Any

import torch
from gloo_workers import run_workers
from torch import Tensor, nn

from oaml_core.config import ModelConfig
from oaml_core.models.build import build_classifier
from oaml_core.training.row_sgd import RowSGD
from oaml_core.training.shards import own_steps, own_weights, whole_state

CLASSES, SIZE = 20, 4
States = tuple[dict[str, Any], dict[str, Any]]


def trained(states: States | None, numbers: range, workers: int = 1, rank: int = 0) -> States:
    """The whole state after the steps `numbers`, from `states` on."""
    classifier = build_classifier(ModelConfig(sample_rate=0.4), SIZE, CLASSES, seed=5)
    module = nn.ModuleDict({"scale": nn.Linear(1, 1), "head": classifier})
    optimiser = RowSGD(classifier.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    if states is not None:
        module.load_state_dict(own_weights(module, states[0]))
        optimiser.load_state_dict(own_steps(module, optimiser, states[1]))
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        embedding = nn.functional.normalize(torch.randn(6, SIZE, generator=generator))
        label = torch.randint(0, CLASSES, (6,), generator=generator)
        own = slice(rank * 6 // workers, (rank + 1) * 6 // workers)
        classifier.loss(embedding[own], torch.full((6, 1), 20.0)[own], label[own]).loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return whole_state(module, optimiser)


def go_on(rank: int, states: States) -> States:
    return trained(states, range(2, 4), workers=3, rank=rank)


def flat(states: States) -> dict[str, Tensor]:
    model, steps = states
    return model | {f"momentum {n}": values["momentum_buffer"] for n, values in steps["state"].items()}


def test_a_run_goes_on_with_another_number_of_workers() -> None:
    early = trained(None, range(2))
    # As they come from a file: not the live tensors of the run.
    copied = (
        {k: v.clone() for k, v in early[0].items()},
        torch.utils._pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, early[1]),
    )
    expected = flat(trained(copied, range(2, 4)))
    main, *others = run_workers(go_on, 3, copied)
    found = flat(main)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
    assert found["head.rows"].shape == (CLASSES, SIZE)
    assert all(len(model["head.rows"]) == 0 for model, _ in others)
