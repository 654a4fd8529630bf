"""A step that is not finite on one worker counts on none."""

from __future__ import annotations

import torch
from gloo_workers import run_workers

from oaml_core.errors import NonFiniteLossError
from oaml_core.losses.finite import FiniteGuard


def verdicts(rank: int) -> list[str | None]:
    """Of five steps; the second and the last three are not finite, each on one worker or another."""
    guard = FiniteGuard(max_skipped_steps=2)
    good, bad = torch.tensor(1.0), torch.tensor(float("inf"))
    first, second = (bad, good) if rank == 0 else (good, bad)
    found: list[str | None] = []
    for step, (adaface, qaconv) in enumerate(
        [(good, good), (good, second), (good, good), (first, second), (second, good), (good, first)]
    ):
        guard.watch({"adaface": adaface, "qaconv": qaconv})
        try:
            found.append(guard.verdict(step))
        except NonFiniteLossError as error:
            found.append(str(error))
    return found


def test_workers_agree_on_the_first_term_and_stop_together() -> None:
    one, other = run_workers(verdicts, 2)
    assert one == other
    *skipped, error = one
    assert skipped == [None, "qaconv", None, "adaface", "adaface"]
    assert error is not None
    assert "'qaconv' was not finite in 3 steps in a row, the last of them step 5" in error
    assert "lower optim.lr or loss.qaconv_loss_weight" in error
