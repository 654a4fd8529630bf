"""Smallest and largest value of a tensor that is on the host anyway, without an operation of torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def host_range(values: Tensor) -> tuple[float, float] | None:
    """Return the smallest and the largest of `values`; None if there are none, or if they are on a device.

    What is on a device is not fetched: the host would wait for everything that is queued there. NaN is passed over.

    Args:
        values: of any shape.
    """
    if values.device.type != "cpu" or not values.numel():
        return None
    values = values.detach()
    array = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if array.dtype.kind in "iu":
        return int(array.min()), int(array.max())
    return float(np.fmin.reduce(array, axis=None)), float(np.fmax.reduce(array, axis=None))
