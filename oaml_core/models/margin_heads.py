"""The classifier whose classes all take part in every step: `(embedding, norm, label) -> logits`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.models.classifier import HeadLoss, IdentityClassifier
from oaml_core.models.margin import Margin


class MarginHead(IdentityClassifier):
    """Classifier of identities in which every worker holds every class; its kernel [E, classes] is laid out as
    published.

    Example:
        >>> import torch
        >>> import oaml_core as oaml
        >>> head = oaml.MarginHead(embedding_size=16, num_classes=10, margin=oaml.ArcFace(m=0.5, s=64.0))
        >>> head.kernel.shape
        torch.Size([16, 10])
    """

    def __init__(self, embedding_size: int, num_classes: int, margin: Margin) -> None:
        super().__init__(embedding_size, num_classes, margin)
        self.kernel = nn.Parameter(torch.empty(embedding_size, num_classes))
        nn.init.normal_(self.kernel, std=embedding_size**-0.5)

    def forward(self, embedding: Tensor, norm: Tensor, label: Tensor) -> Tensor:
        """Logits [B, classes]; arguments and errors are those of `loss`."""
        self.check(embedding, norm, label)
        if self.training:
            self.margin.observe(norm)
        with torch.autocast(embedding.device.type, enabled=False):
            cosine = embedding.float() @ functional.normalize(self.kernel, dim=0)
            return self.margin.logits(cosine, norm, torch.arange(len(label), device=label.device), label)

    def loss(self, embedding: Tensor, norm: Tensor, label: Tensor) -> HeadLoss:
        logits = self(embedding, norm, label)
        correct = logits.detach().argmax(1) == label
        return HeadLoss(functional.cross_entropy(logits, label, reduction="none"), correct.float())

    def centres(self) -> Tensor:
        return functional.normalize(self.kernel.detach(), dim=0).T
