"""Configuration of the loss terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive, check_shares
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; total = Σ weight · term."""

    adaface_loss_weight: float = 0.1
    """Margin-head cross-entropy."""
    qaconv_loss_weight: float = 0.9
    """Pairwise matching."""
    visibility_loss_weight: float = 0.1
    """Mean squared error of the visibility map. The specification's name `loss.occlusion_loss_weight` is read too."""
    softmax_triplet_loss_weight: float = 0.0
    """Classification among the nearest classes by local matching, and ranking of the batch's hardest pairs; 0: no class
    embeddings are kept."""
    distillation_loss_weight: float = 0.0
    """Nearness, 1 − cosine, of the pooled embedding of a covered face's visible places to the backbone's embedding of
    the same face without the drawn occluder. Wants `model.matcher pooled`."""
    common_distillation_loss_weight: float = 0.0
    """Weight of the distillation of what another face of the batch shows too: pairs compare no other places."""
    contrastive_distillation_loss_weight: float = 0.0
    """Cross-entropy of picking a covered face's own target among those of all other people's training faces. Wants
    `targets_known`."""
    contrastive_scale: float = 16.0
    """Inverse temperature of contrastive distillation, more than 0."""
    targets_known: bool = False
    """Compute what distillation aims at once, before training, instead of in every step: a pass of the backbone over
    every face and its mirror image, and 8 bytes per face on each device for each number of an embedding."""
    targets_fused: bool = False
    """Aim at the sum of the embeddings of a face and of its mirror image, for both of them. Wants `targets_known`."""
    pairwise_gradient_share: float = 1.0
    """Share, in [0, 1], of the pairwise loss's gradient that reaches the feature maps. The pairwise loss knows the
    training people alone; distillation knows what the backbone learnt of all of its own."""
    matching_visibility: Literal["predicted", "drawn"] = "predicted"
    """Visibility that pairs are matched with in training: that of the visibility head, or of the drawn occluders."""
    triplet_margin: float = 1.0
    """Margin of the ranking in units of the matcher's score, 0 or more."""
    triplet_weight: float = 0.5
    """Weight of the ranking beside the classification, 0 or more."""
    class_embeddings_gib: float = 8.0
    """Most memory, in GiB on every worker, that class embeddings may take: identities · channels · h · w · 2 bytes.
    They are part of each checkpoint."""
    cross_rank_pairs: bool = True
    """Form pairs over the global batch; False: over each worker's slice."""
    max_skipped_steps: int = 20
    """Steps in a row with a non-finite loss after which training stops."""

    @property
    def distils(self) -> bool:
        """Return True if a loss term compares covered faces with the same faces without cover."""
        weights = self.distillation_loss_weight, self.common_distillation_loss_weight
        return any(weight > 0 for weight in (*weights, self.contrastive_distillation_loss_weight))


def check_loss(loss: LossConfig) -> None:
    """Refuse negative weights and margins.

    Raises:
        ConfigError: names the key to change.
    """
    weights = (
        "adaface",
        "qaconv",
        "visibility",
        "softmax_triplet",
        "distillation",
        "common_distillation",
        "contrastive_distillation",
    )
    check_shares({"loss.pairwise_gradient_share": loss.pairwise_gradient_share})
    for name in (*(f"{weight}_loss_weight" for weight in weights), "triplet_margin", "triplet_weight"):
        if getattr(loss, name) < 0:
            raise ConfigError(f"loss.{name} is {getattr(loss, name)}; it must be 0 or more.")
    check_positive({"loss.contrastive_scale": loss.contrastive_scale})
    for key in ("targets_fused", "contrastive_distillation_loss_weight"):
        if getattr(loss, key) and not loss.targets_known:
            raise ConfigError(f"loss.{key} needs the targets of all faces: set loss.targets_known true.")
    if loss.class_embeddings_gib <= 0:
        raise ConfigError(f"loss.class_embeddings_gib is {loss.class_embeddings_gib}; it must be more than 0.")
