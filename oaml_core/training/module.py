"""What is trained: one backbone, three things learnt on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from oaml_core.config import Config, LossConfig
from oaml_core.data.batches.graph_sampler import NearestClasses
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.errors import ModelInputError
from oaml_core.losses.distillation import contrast, distance_to
from oaml_core.losses.pairwise import BatchScores, PairwiseLoss, pair_scores, pairwise_matching_loss
from oaml_core.losses.softmax_triplet import SoftmaxTripletLoss, softmax_triplet_loss
from oaml_core.losses.visibility import check_visibility_target, visibility_loss
from oaml_core.models.build import build_classifier
from oaml_core.models.class_embeddings import GIB, ClassEmbeddings
from oaml_core.models.features import Features
from oaml_core.models.global_batch import batch_sizes, gather_batch, own_rows
from oaml_core.models.pooled import Pooled
from oaml_core.models.recogniser import build_recogniser
from oaml_core.training.known_targets import KnownTargets
from oaml_core.training.shards import sharded_rows
from oaml_core.training.world import World
from oaml_core.visibility import resize_visibility


class StepResult(NamedTuple):
    """One worker's share of a step; the mean over the workers belongs to the global batch."""

    terms: dict[str, Tensor]
    """Loss terms by name, before their weights."""
    metrics: dict[str, Tensor]
    """What else is worth a curve, without gradient."""


class MatchingLosses(NamedTuple):
    """The losses of local matching, each with one value per probe."""

    pairwise: PairwiseLoss
    classes: SoftmaxTripletLoss | None
    pairs: BatchScores


class RecognitionModule(nn.Module):
    """The recogniser, its margin head and, where a loss wants them, class embeddings.

    Args:
        config: the whole configuration.
        num_classes: training identities.
        world: this worker among all of them.
    """

    def __init__(self, config: Config, num_classes: int, world: World) -> None:
        super().__init__()
        self.config = config
        self.world = world
        self.is_logged = True
        """Whether the next step's metrics are for somebody's eyes, and worth their computation."""
        self.targets: KnownTargets | None = None
        """Embeddings that distillation aims at, where they are known before training. Not saved."""
        self.recogniser = build_recogniser(config.model, config.data.image_size)
        self.head = build_classifier(
            config.model, self.recogniser.backbone.embedding_size, num_classes, seed=config.seed
        )
        # What no loss term reaches must not be waited for when gradients are averaged.
        loss = config.loss
        self.recogniser.matcher.requires_grad_(matches(loss) or loss.distils)
        if isinstance(self.recogniser.matcher, Pooled) and not matches(loss):
            for scale in self.recogniser.matcher.scales():
                scale.requires_grad_(False)
        is_shared_out = sharded_rows(self) is not None
        # Without its weight a head on a frozen backbone learns nothing; elsewhere the embedding needs a gradient, if 0.
        self.identifies = loss.adaface_loss_weight > 0 or not config.model.freeze_backbone or is_shared_out
        self.head.requires_grad_(self.identifies)
        self.recogniser.learns_locally_alone = config.model.freeze_backbone and not self.identifies
        taught_by_pairs = config.model.matching_trains_visibility and matches(loss)
        self.recogniser.visibility_head.requires_grad_(loss.visibility_loss_weight > 0 or taught_by_pairs)
        self.classes = self._class_embeddings(num_classes) if loss.softmax_triplet_loss_weight else None

    def check_batch(self, batch: TrainingBatch) -> None:
        """Refuse labels and masks that cannot be learnt from, while they are on the host and looking costs nothing.

        Raises:
            ModelInputError: a label is no class, or a mask has values outside [0, 1].
        """
        self.head.check_labels(batch.labels)
        for target in (batch.visibility, *(batch.occluded or ())[1:]):
            check_visibility_target(target)

    def training_step(self, batch: TrainingBatch) -> StepResult:
        """Return the loss terms of this worker's slice, each weighted so that the workers' mean is the global batch's.

        With slices of b_r of the B images, a term is (mean over the slice) · b_r · W / B: gradients averaged over
        the W workers are then those of one worker that sees all of the batch.
        """
        weights = self.config.loss
        features = self.recogniser(batch.images)
        sizes = batch_sizes(batch.labels)
        share = share_of(sizes, len(batch.labels))
        terms: dict[str, Tensor] = {}
        # A frozen backbone that only lends its first layers has no embedding here.
        metrics = {"norm": features.norm.detach().mean() * share} if features.norm.numel() else {}
        if self.is_logged:
            metrics["map_norm"] = features.feature_map.detach().float().norm(dim=1).mean() * share
            metrics["visibility_head_norm"] = _norm_of(self.recogniser.visibility_head)
        if self.identifies:
            identity = self.head.loss(features.embedding, features.norm, batch.labels)
            terms["adaface"] = identity.loss.mean() * share
            metrics["head_accuracy"] = identity.correct.mean() * share
        if weights.qaconv_loss_weight or self.classes is not None:
            matching = self._matching(self._matched(features, batch), batch.labels, sizes)
            metrics["pair_accuracy"] = matching.pairwise.accuracy.mean() * share
            if self.is_logged:
                metrics |= {name: value.mean() * share for name, value in matching.pairs.spread().items()}
            if weights.qaconv_loss_weight:
                terms["qaconv"] = matching.pairwise.loss.mean() * share
            if matching.classes is not None:
                terms["softmax_triplet"] = matching.classes.loss.mean() * share
                metrics["class_accuracy"] = matching.classes.accuracy.mean() * share
        if weights.visibility_loss_weight:
            terms["visibility"] = self._visibility(features, batch, share)
        if weights.distils:
            terms |= {name: term.mean() * share for name, term in self._distillation(features, batch, sizes).items()}
        return StepResult(terms, metrics)

    def _matched(self, features: Features, batch: TrainingBatch) -> Features:
        """Return the features as matching learns from them: with part of their gradient, and the visibility chosen."""
        maps, share = features.feature_map, self.config.loss.pairwise_gradient_share
        if share < 1:
            maps = torch.lerp(maps.detach(), maps, share)
        if self.config.loss.matching_visibility == "drawn":
            return features._replace(feature_map=maps, visibility=batch.visibility.to(maps.dtype))
        return features._replace(feature_map=maps)

    def _distillation(self, features: Features, batch: TrainingBatch, sizes: list[int]) -> dict[str, Tensor]:
        """Return the distillation terms [b] of the pooled embeddings, towards the backbone's of the uncovered faces."""
        matcher, weights = self.recogniser.matcher, self.config.loss
        assert isinstance(matcher, Pooled)
        visible = batch.visibility.to(features.feature_map.dtype)
        target = self._target(batch)
        terms = {}
        embedded = matcher.embed(features.feature_map, visible)
        if weights.distillation_loss_weight:
            terms["distillation"] = distance_to(embedded, target)
        if weights.contrastive_distillation_loss_weight:
            assert self.targets is not None  # the configuration saw to it
            known, scale = self.targets, weights.contrastive_scale
            terms["contrastive_distillation"] = contrast(
                embedded, target, batch.labels, known.embeddings[0], known.labels, scale=scale
            )
        if weights.common_distillation_loss_weight:
            # The neighbour in the global batch, so that the number of workers changes nothing.
            everybody = gather_batch(visible, sizes) if self.world.size > 1 else visible
            common = visible * everybody.roll(1, 0)[own_rows(sizes)]
            terms["common_distillation"] = distance_to(matcher.embed(features.feature_map, common), target)
        return terms

    def _target(self, batch: TrainingBatch) -> Tensor:
        """Return the backbone's embeddings [b, E] of the batch's faces without cover."""
        if self.targets is not None and batch.mirrored is not None:
            return self.targets.embeddings[batch.mirrored, batch.samples]
        if batch.clean is None:
            raise ModelInputError("The batch has no uncovered faces to learn from: set loss.distillation_loss_weight.")
        return self.recogniser.describe_globally(batch.clean)

    def _visibility(self, features: Features, batch: TrainingBatch, share: float) -> Tensor:
        """Return the visibility loss: of the visibility batch where there is one, else of the recognition batch's
        occluders.

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
        """Return the sum of all loss terms, each times its weight."""
        loss = self.config.loss
        weights = {
            "adaface": loss.adaface_loss_weight,
            "qaconv": loss.qaconv_loss_weight,
            "visibility": loss.visibility_loss_weight,
            "softmax_triplet": loss.softmax_triplet_loss_weight,
            "distillation": loss.distillation_loss_weight,
            "common_distillation": loss.common_distillation_loss_weight,
            "contrastive_distillation": loss.contrastive_distillation_loss_weight,
        }
        return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def begin_epoch(self, nearest: NearestClasses) -> None:
        """Look up the nearest classes anew; `nearest` gives all workers the same."""
        if self.classes is not None and self.classes.nearest.shape[1]:
            every, count = np.arange(len(self.classes.nearest)), self.classes.nearest.shape[1]
            self.classes.nearest.copy_(torch.from_numpy(nearest(every, count)))

    def _matching(self, features: Features, labels: Tensor, sizes: list[int]) -> MatchingLosses:
        """Return the losses [b] of this slice's probes against the global batch and the class embeddings."""
        maps, start = features.feature_map, 0
        visibility = resize_visibility(features.visibility, self.recogniser.matcher.map_size)
        if not self.recogniser.matcher.trains_visibility:
            visibility = visibility.detach()
        batch = maps, visibility, labels
        if self.world.size > 1 and (self.config.loss.cross_rank_pairs or self.classes is not None):
            batch = gather_batch(maps, sizes), gather_batch(visibility, sizes), gather_batch(labels, sizes)
        gallery, gallery_visibility, gallery_labels = maps, visibility, labels
        if self.config.loss.cross_rank_pairs and self.world.size > 1:
            gallery, gallery_visibility, gallery_labels = batch
            start = own_rows(sizes).start
        scores = self.recogniser.matcher.match(maps, gallery, visibility, gallery_visibility)
        itself = torch.arange(start, start + len(labels), device=labels.device)
        pairs = pair_scores(scores, labels, gallery_labels, itself)
        if self.classes is None:
            return MatchingLosses(pairwise_matching_loss(pairs), None, pairs)
        candidates = self.classes.candidates(labels)
        class_scores = self.recogniser.matcher.match_candidates(maps, candidates.maps, candidates.columns, visibility)
        classes = softmax_triplet_loss(
            class_scores,
            candidates.known,
            pairs,
            margin=self.config.loss.triplet_margin,
            triplet_weight=self.config.loss.triplet_weight,
        )
        self.classes.update(batch[2], batch[0].detach(), batch[1].detach())
        return MatchingLosses(pairwise_matching_loss(pairs), classes, pairs)

    def _class_embeddings(self, num_classes: int) -> ClassEmbeddings:
        matcher = self.recogniser.matcher
        return ClassEmbeddings(
            num_classes,
            matcher.channels,
            matcher.map_size,
            k_nearest=self.config.model.k_nearest,
            limit=round(self.config.loss.class_embeddings_gib * GIB),
        )


def _norm_of(module: nn.Module) -> Tensor:
    """L2 norm of all weights of a module, without gradient."""
    norms = torch.stack([torch.linalg.vector_norm(weight.detach().float()) for weight in module.parameters()])
    result: Tensor = torch.linalg.vector_norm(norms)
    return result


def matches(loss: LossConfig) -> bool:
    """Return True if a loss term compares pairs."""
    return loss.qaconv_loss_weight > 0 or loss.softmax_triplet_loss_weight > 0


def share_of(sizes: list[int], own: int) -> float:
    """Return the factor of a mean over this worker's `own` rows that makes the workers' mean that of all rows."""
    return own * len(sizes) / sum(sizes)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep `module` in evaluation mode while the block runs; each part returns to its own mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
