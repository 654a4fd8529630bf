"""Configuration of the recogniser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive
from oaml_core.errors import ConfigError
from oaml_core.registry import BACKBONES, MARGINS, MATCHERS


@dataclass(frozen=True)
class ModelConfig:
    """The recogniser: backbone, visibility head, margin head, matcher."""

    arch: str = "ir_50"
    """Backbone: `ir_mini`, `ir_18` to `ir_200`, `ir_se_50`, `ir_se_101`, `iresnet_18` to `iresnet_200`,
    `mobilefacenet`, `mobilenet`, or a registered one."""
    width: int = 16
    """Channels of the first stage of `ir_mini`; the other backbones have their published widths."""
    weights: str | None = None
    """Pretrained backbone to start from: `.ckpt`, `.pt`, `.safetensors`, or `.onnx` with the same layers in order."""
    weights_channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order that `weights` were trained with; published AdaFace weights want `bgr`."""
    freeze_backbone: bool = False
    """Keep the backbone as `weights` give it; what is on top of it learns: `local_layers`, matcher, visibility head and
    classifier. The global score then stays what it was."""
    head: str = "adaface"
    """Margin head: `adaface`, `arcface`, `cosface`, or a registered one."""
    m: float = 0.5
    """Margin; in radians where it is angular. AdaFace's paper: 0.4."""
    h: float = 0.0
    """AdaFace's concentration of the normalised norm. AdaFace's paper: 0.333."""
    s: float = 64.0
    """Scale of the logits."""
    t_alpha: float = 0.01
    """Momentum of AdaFace's running mean and deviation of the norms."""
    sample_rate: float = 1.0
    """Share, in (0, 1], of the classes that are not in the batch but take part in a step (Partial FC). Below 1 the
    classifier is also shared out among the workers: for many identities; its docstring says how memory grows."""
    local_layers: int = 0
    """Last layers before the feature map that matcher and visibility head have once more for themselves, with weights
    that start as the backbone's; 0: they see the backbone's own feature map. The global embedding is not touched."""
    matcher: str = "qaconv"
    """Local matcher: `qaconv`, places as they are; `transmatcher`, places after self-attention, slower and with
    millions of parameters; `pooled`, the embedding of the places that both faces show, made for each pair;
    `pooled_alone`, the embedding of the places that each face shows by itself."""
    weighting: Literal["evidence", "multiply", "none"] = "evidence"
    """How visibility weights the correlations; the matcher's docstring has the formulas. `none`: not at all, the
    ablation without visibility."""
    visibility_map: Literal["coarse", "fine", "early"] = "coarse"
    """Places of the visibility map: `coarse`, those of the feature map, 7×7 in 112×112 pixels; `fine`, those of what
    the local layers take, 28×28 with MobileFaceNet's last 17, where thin things show; `early`, as many, told before
    the local layers, which then do not see what is covered. The latter two want `local_layers` and a matcher that makes
    one vector of each face, `pooled_alone`."""
    matching_trains_visibility: bool = False
    """Let the gradients of matching flow into the visibility map too, as the specification has it. False: the map
    learns from masks alone and stays what it is called; with gradients it may fade wherever that lowers the loss."""
    matcher_product: Literal["auto", "fp32", "bf16"] = "fp32"
    """Type of the factors of the matcher's correlations, summed in fp32: `bf16` is faster on GPUs and on processors
    with such instructions (AVX-512 BF16, AMX), slower on others; a correlation is then off by at most 0.006. `auto`:
    `bf16` where `qaconv` is evaluated on a device with such instructions, `fp32` otherwise and in training."""
    k_nearest: int = 32
    """Classes that a sample is classified among by local matching: its own and the nearest others, 2 or more. In effect
    with `loss.softmax_triplet_loss_weight`."""
    visibility_trains_backbone: bool = False
    """Let the visibility loss reach the backbone."""


def check_model(model: ModelConfig) -> None:
    """Refuse values of `model` that cannot work.

    Raises:
        ConfigError: names the key to change.
    """
    check_positive({"model.s": model.s})
    BACKBONES.check(model.arch, "model.arch")
    MARGINS.check(model.head, "model.head")
    MATCHERS.check(model.matcher, "model.matcher")
    if not 0.0 < model.sample_rate <= 1.0:
        raise ConfigError(f"model.sample_rate is {model.sample_rate}; it is a share and must lie in (0, 1].")
    if model.freeze_backbone and model.weights is None:
        raise ConfigError("model.freeze_backbone would keep a backbone as it was drawn at random: give model.weights.")
    if model.visibility_map != "coarse" and not (model.local_layers and model.matcher == "pooled_alone"):
        raise ConfigError(
            f"model.visibility_map {model.visibility_map} reads what the local layers take, and is compared by one "
            "vector a face: set model.local_layers and model.matcher pooled_alone, or model.visibility_map coarse."
        )
    if model.k_nearest < 2:
        raise ConfigError(f"model.k_nearest is {model.k_nearest}; a sample needs 2 classes to choose from.")
