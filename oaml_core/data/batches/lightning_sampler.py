"""Batch samplers that Lightning's Trainer takes as they are, on one worker and on many.

With several workers the Trainer puts a `DistributedSampler` of its own into a batch sampler by making that anew from
the arguments that it was made from (`lightning.pytorch.utilities.data`). A planned batch sampler has no sampler inside,
and must keep its position: it answers with itself, and learns from the `DistributedSampler` which worker it is.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import Sampler
from torch.utils.data.distributed import DistributedSampler


class _AnswersWithItself(type):
    def __call__(
        cls, *arguments: Any, made_already: PlacedSampler | None = None, sampler: Any = None, **keys: Any
    ) -> Any:
        if made_already is not None:
            if isinstance(sampler, DistributedSampler):
                made_already.place(sampler.rank, sampler.num_replicas)
            return made_already
        made = super().__call__(*arguments, **keys)
        vars(made).update(
            {
                "__pl_saved_args": (),
                "__pl_saved_arg_names": (),
                "__pl_saved_kwargs": {"made_already": made, "sampler": None},
                "__pl_saved_default_kwargs": {},
            }
        )
        return made


class PlacedSampler(Sampler[Any], metaclass=_AnswersWithItself):
    """A batch sampler that knows which of the workers it is."""

    def place(self, rank: int, world_size: int) -> None:
        """Set which worker this is: `rank` of `world_size`. ConfigError: the batch cannot be shared out among so
        many."""
        raise NotImplementedError
