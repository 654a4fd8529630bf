"""What is trained: one backbone, three things learnt on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oaml_core.config import Config
from oaml_core.data.datamodule import TrainingBatch
from oaml_core.losses.pairwise import pairwise_matching_loss
from oaml_core.losses.visibility import visibility_loss
from oaml_core.models.features import Features
from oaml_core.models.global_batch import batch_sizes, gather_batch, own_rows
from oaml_core.models.margin_heads import build_margin_head
from oaml_core.models.recogniser import build_recogniser
from oaml_core.training.world import World


class StepResult(NamedTuple):
    """One worker's share of a step; the mean over the workers belongs to the global batch."""

    terms: dict[str, Tensor]
    """Loss terms by name, before their weights."""
    metrics: dict[str, Tensor]
    """What else is worth a curve, without gradient."""


class RecognitionModule(nn.Module):
    """The recogniser and its margin head.

    Args:
        config: the whole configuration.
        num_classes: training identities.
        world: this worker among all of them.
    """

    def __init__(self, config: Config, num_classes: int, world: World) -> None:
        super().__init__()
        self.config = config
        self.world = world
        self.recogniser = build_recogniser(config.model, config.data.image_size)
        self.head = build_margin_head(config.model, self.recogniser.backbone.embedding_size, num_classes)
        # What no loss term reaches must not be waited for when gradients are averaged.
        self.recogniser.matcher.requires_grad_(config.loss.qaconv_loss_weight > 0)
        self.recogniser.visibility_head.requires_grad_(config.loss.occlusion_loss_weight > 0)

    def training_step(self, batch: TrainingBatch) -> StepResult:
        """The loss terms of this worker's slice, each weighted so that the workers' mean is the global batch's.

        With slices of b_r of the B images, a term is (mean over the slice) · b_r · W / B: gradients averaged over
        the W workers are then those of one worker that sees all of the batch.
        """
        weights = self.config.loss
        features = self.recogniser(batch.images)
        identity = self.head.loss(features.embedding, features.norm, batch.labels)
        sizes = batch_sizes(batch.labels)
        share = share_of(sizes, len(batch.labels))
        terms = {"adaface": identity.loss.mean() * share}
        metrics = {
            "head_accuracy": identity.correct.mean() * share,
            "norm": features.norm.detach().mean() * share,
        }
        if weights.qaconv_loss_weight:
            matching, accuracy = self._matching(features, batch.labels, sizes)
            terms["qaconv"], metrics["pair_accuracy"] = matching * share, accuracy * share
        if weights.occlusion_loss_weight:
            terms["visibility"] = self._visibility(features, batch, share)
        return StepResult(terms, metrics)

    def _visibility(self, features: Features, batch: TrainingBatch, share: float) -> Tensor:
        """The visibility loss: of the visibility batch where there is one, else of the recognition batch's occluders.

        Where that loss does not train the backbone, the visibility batch passes it with the running statistics, as in
        use, and leaves them to the recognition batch.
        """
        if batch.occluded is None:
            return visibility_loss(features.visibility, batch.visibility) * share
        images, visible = batch.occluded
        with nullcontext() if self.config.model.visibility_trains_backbone else frozen(self.recogniser.backbone):
            predicted = self.recogniser(images).visibility
        return visibility_loss(predicted, visible) * share_of(batch_sizes(visible), len(visible))

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Σ weight · term."""
        loss = self.config.loss
        weights = {
            "adaface": loss.adaface_loss_weight,
            "qaconv": loss.qaconv_loss_weight,
            "visibility": loss.occlusion_loss_weight,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def _matching(self, features: Features, labels: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Pairwise loss and accuracy of this slice's probes against the global batch, means over the probes."""
        maps, visibility, gallery_labels, start = features.feature_map, features.visibility.detach(), labels, 0
        gallery, gallery_visibility = maps, visibility
        if self.config.loss.cross_rank_pairs and self.world.size > 1:
            gallery, gallery_visibility = gather_batch(maps, sizes), gather_batch(visibility, sizes)
            gallery_labels = gather_batch(labels, sizes)
            start = own_rows(sizes).start
        scores = self.recogniser.matcher.match(maps, gallery, visibility, gallery_visibility)
        itself = torch.arange(start, start + len(labels), device=labels.device)
        result = pairwise_matching_loss(scores, labels, gallery_labels, itself)
        return result.loss.mean(), result.accuracy.mean()


def share_of(sizes: list[int], own: int) -> float:
    """What a mean over this worker's `own` rows is multiplied with, so that the workers' mean is that of all rows."""
    return own * len(sizes) / sum(sizes)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """`module` as in evaluation, each part of it as it was afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
