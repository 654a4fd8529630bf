"""The visibility map against the mask."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError
from oaml_core.visibility import resize_visibility


def visibility_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of `predicted` [B, 1, h, w] against `target` [B, 1, H, W], both in [0, 1]; a scalar.

    Raises:
        ModelInputError: the two hold different numbers of maps or more than one channel, are on two devices, or the
            target has values outside [0, 1]. NaN is no such value: it makes the loss NaN.
    """
    if predicted.shape[:2] != target.shape[:2] or predicted.shape[1] != 1:
        raise ModelInputError(
            f"Visibility maps are [B, 1, h, w] on both sides, not {list(predicted.shape)} and {list(target.shape)}."
        )
    if predicted.device != target.device:
        raise ModelInputError(f"The predicted maps are on {predicted.device}, the target on {target.device}.")
    if bool(((target < 0) | (target > 1)).any()):
        raise ModelInputError(
            f"The target visibility lies in [{target.min():.3g}, {target.max():.3g}]; it is a share in [0, 1], "
            "1 = visible. Masks of 0 and 255 are divided by 255."
        )
    return functional.mse_loss(
        predicted, resize_visibility(target.to(predicted.dtype), (predicted.shape[2], predicted.shape[3]))
    )
