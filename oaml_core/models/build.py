"""Build the backbone, matcher and classifier that a configuration names."""

from __future__ import annotations

from oaml_core.config import ModelConfig
from oaml_core.errors import ConfigError
from oaml_core.models.backbone import Backbone
from oaml_core.models.classifier import IdentityClassifier
from oaml_core.models.margin import build_margin
from oaml_core.models.matcher import Matcher
from oaml_core.registry import BACKBONES, MATCHERS

IMAGE_SIZES = (112, 224)
"""Sides of aligned faces, in pixels."""


def build_backbone(arch: str, *, image_size: int = 112, width: int = 16) -> Backbone:
    """Return the backbone called `arch`; `width` is the first stage's of `ir_mini`, the others have their published
    ones.

    Raises:
        ConfigError: there is none of that name, or it does not take `image_size`.

    Example:
        >>> import oaml_core as oaml
        >>> backbone = oaml.build_backbone("ir_mini", width=8)
        >>> backbone.map_size
        (7, 7)
    """
    if image_size not in IMAGE_SIZES:
        raise ConfigError(f"data.image_size is {image_size}; backbones take {' or '.join(map(str, IMAGE_SIZES))}.")
    built: Backbone = BACKBONES.get(arch)(image_size=image_size, width=width)
    return built


def build_matcher(
    config: ModelConfig, channels: int, map_size: tuple[int, int], backbone: Backbone | None = None
) -> Matcher:
    """Build the matcher that `config` names, for maps [B, channels, *map_size].

    Args:
        config: the recogniser's configuration.
        channels: of the maps.
        map_size: (h, w) of the maps.
        backbone: whose embedding layer the pooled matcher takes over; None: it starts at random.

    Raises:
        ConfigError: `model.matcher` names no matcher.
    """
    from oaml_core.models.pooled import Pooled
    from oaml_core.models.pooled_start import start_from

    kind = MATCHERS.get(config.matcher)
    built: Matcher
    if backbone is not None and isinstance(kind, type) and issubclass(kind, Pooled):
        built = start_from(backbone, weighting=config.weighting, product=config.matcher_product, kind=kind)
    else:
        built = kind(channels, map_size, weighting=config.weighting, product=config.matcher_product)
    built.trains_visibility = config.matching_trains_visibility
    return built


def build_classifier(config: ModelConfig, embedding_size: int, num_classes: int, *, seed: int) -> IdentityClassifier:
    """Return the classifier that `config` describes: whole on every worker, or sampled and shared out among them.

    Args:
        seed: of the sampled classifier's first weights and of its sampling.
    """
    from oaml_core.models.margin_heads import MarginHead
    from oaml_core.models.sharded_classifier import ShardedClassifier

    margin = build_margin(config)
    if config.sample_rate == 1:
        return MarginHead(embedding_size, num_classes, margin)
    return ShardedClassifier(embedding_size, num_classes, margin, sample_rate=config.sample_rate, seed=seed)
