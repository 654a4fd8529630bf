"""What a classifier over training identities is, and the one that a configuration names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oaml_core.errors import ModelInputError
from oaml_core.host_range import host_range
from oaml_core.models.margin import Margin


class HeadLoss(NamedTuple):
    """Loss of each sample: `loss` [b], a cross-entropy; `correct` [b] is 1 if its own class wins, margin included."""

    loss: Tensor
    correct: Tensor


class IdentityClassifier(nn.Module, ABC):
    """A cosine classifier whose own-class cosine is made harder by a margin.

    Args:
        embedding_size: E.
        num_classes: training identities.
        margin: AdaFace, ArcFace or CosFace.
    """

    def __init__(self, embedding_size: int, num_classes: int, margin: Margin) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.num_classes = num_classes
        self.margin = margin

    @abstractmethod
    def loss(self, embedding: Tensor, norm: Tensor, label: Tensor) -> HeadLoss:
        """Cross-entropy of this worker's samples.

        Args:
            embedding: [b, E], unit length.
            norm: [b, 1], its length before normalisation.
            label: int64 [b] in [0, classes).

        Raises:
            ModelInputError: shapes, types or devices do not fit one another, or a label is out of range. Labels that
                are on a GPU are not read: `check_labels` takes them before they go there.
        """

    @abstractmethod
    def centres(self) -> Tensor:
        """Unit-length weights [classes, E] on the main worker; every worker must call it, others may get none."""

    def check(self, embedding: Tensor, norm: Tensor, label: Tensor) -> None:
        """Refuse what `loss` cannot take, before any arithmetic."""
        batch = len(embedding)
        if embedding.shape != (batch, self.embedding_size) or norm.shape != (batch, 1) or label.shape != (batch,):
            raise ModelInputError(
                f"The head takes embedding [B, {self.embedding_size}], norm [B, 1] and label [B], not "
                f"{list(embedding.shape)}, {list(norm.shape)} and {list(label.shape)}."
            )
        if label.dtype != torch.int64:
            raise ModelInputError(f"Labels are int64, not {label.dtype}.")
        devices = {
            "weights": next(self.parameters()).device,
            "embedding": embedding.device,
            "norm": norm.device,
            "label": label.device,
        }
        if len(set(devices.values())) > 1:
            where = ", ".join(f"{name} on {device}" for name, device in devices.items())
            raise ModelInputError(f"The head and its inputs are on several devices: {where}. Move them to one.")
        self.check_labels(label)

    def check_labels(self, label: Tensor) -> None:
        """Refuse labels that are no class, if they are on the host; training looks at them before they leave it.

        Args:
            label: int64 of any shape.

        Raises:
            ModelInputError: a label is below 0, or there are not so many classes.
        """
        found = host_range(label)
        if found is not None and not (found[0] >= 0 and found[1] < self.num_classes):
            raise ModelInputError(
                f"Labels run from {found[0]} to {found[1]}, the head has classes 0 to {self.num_classes - 1}: prepare "
                "the data again, or build the head for as many identities as it has."
            )
