"""Random numbers of each purpose, independent of those of every other purpose.

The noise of a simulated measurement must not be the noise that a sample starts from: with generators seeded alike for
both, samples lean towards the measurement.
"""

from __future__ import annotations

import numpy as np
import torch


def generator_of(purpose: str, *numbers: int) -> torch.Generator:
    """Return a generator on the CPU that a purpose and its numbers, ≥ 0, alone decide.

    Args:
        purpose: what is drawn.
        numbers: seed, and which draw it is.
    """
    words = np.random.SeedSequence([*purpose.encode(), *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
