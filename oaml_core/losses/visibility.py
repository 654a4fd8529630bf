"""The visibility map against the mask."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError
from oaml_core.host_range import host_range
from oaml_core.visibility import resize_visibility


def visibility_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return mean squared error of `predicted` [B, 1, h, w] against `target` [B, 1, H, W], both in [0, 1]; a scalar.

    Raises:
        ModelInputError: the two hold different numbers of maps or more than one channel, are on two devices, or the
            target has values outside [0, 1]. NaN is no such value: it makes the loss NaN. A target on a GPU is not
            read: `check_visibility_target` takes it before it goes there.
    """
    if predicted.shape[:2] != target.shape[:2] or predicted.shape[1] != 1:
        raise ModelInputError(
            f"Visibility maps are [B, 1, h, w] on both sides, not {list(predicted.shape)} and {list(target.shape)}."
        )
    if predicted.device != target.device:
        raise ModelInputError(f"The predicted maps are on {predicted.device}, the target on {target.device}.")
    check_visibility_target(target)
    return functional.mse_loss(
        predicted, resize_visibility(target.to(predicted.dtype), (predicted.shape[2], predicted.shape[3]))
    )


def check_visibility_target(target: Tensor) -> None:
    """Refuse a target with values outside [0, 1], if it is on the host; training looks at it before it leaves it.

    Args:
        target: of any shape; NaN is passed over.

    Raises:
        ModelInputError: see above.
    """
    found = host_range(target)
    if found is not None and (found[0] < 0 or found[1] > 1):
        raise ModelInputError(
            f"The target visibility lies in [{found[0]:.3g}, {found[1]:.3g}]; it is a share in [0, 1], "
            "1 = visible. Masks of 0 and 255 are divided by 255."
        )
