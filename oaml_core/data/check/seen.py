"""Record of a source as the checks go through it, to be judged at their end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.check.report import Duplicate, SetAside
from oaml_core.data.sources.inputs import Inputs
from oaml_core.data.sources.verification_source import VerificationSource


@dataclass
class Seen:
    """Counts and lists of a source so far; `findings` judges them."""

    inputs: Inputs
    config: Config
    before_training: bool = False
    """True if batches that cannot be planned forbid the next step."""
    images: int = 0
    """Usable training images."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Usable images by the source's identity number."""
    sides: Counter[int] = field(default_factory=Counter)
    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, dtype=np.int64))
    """Sums of R, G, B over all pixels of the resized images."""
    low: int = 255
    high: int = 0
    blank: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    broken_labels: set[int] = field(default_factory=set)
    """Numbers of the identities with an image that was set aside."""
    held_out: int = 0
    """Usable images of people who are held out of training."""
    held_out_set_aside: list[SetAside] = field(default_factory=list)
    pairs_set_aside: list[SetAside] = field(default_factory=list)
    coverage: NDArray[np.int64] = field(default_factory=lambda: np.zeros(10, dtype=np.int64))
    grey_masks: int = 0
    visibility_pairs: int = 0
    bad_sets: list[str] = field(default_factory=list)
    good_sets: dict[str, VerificationSource] = field(default_factory=dict)
    shown: dict[str, dict[int, int]] = field(default_factory=dict)
    """Beginning of the SHA-256 of each verification image, by set and number."""
    duplicates: list[Duplicate] = field(default_factory=list)
    """Between training and verification images."""
    twins: list[Duplicate] = field(default_factory=list)
    """Within the training images."""
    shared: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Training images of two identities that are the same file, by the identities' numbers."""
