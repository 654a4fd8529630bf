"""Every hyper-parameter once, as a tree of frozen dataclasses.

A recipe (`configs/*.yaml`) says only what differs from the defaults here; `oaml … --print-config` shows the
whole resolved tree. Reading recipes and command-line overrides is `oaml_core.settings`' job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from oaml_core.config_checks import check
from oaml_core.config_restoration import RestorationConfig

Arch = Literal[
    "ir_mini",
    "ir_18",
    "ir_34",
    "ir_50",
    "ir_101",
    "ir_152",
    "ir_200",
    "ir_se_50",
    "ir_se_101",
    "mobilefacenet",
]
Occluder = Literal["surgical", "cloth", "ffp2", "veil", "sunglasses", "scarf", "hand", "blocks"]
Sides = Literal["second", "both"]


@dataclass(frozen=True)
class DataConfig:
    """Where faces come from and how they are batched."""

    source: str | None = None
    """Folder, or `s3://bucket/prefix`, that holds `train.rec` or one folder an identity or `train.csv`, and
    verification `.bin` sets. None: synthetic faces are drawn."""
    image_size: int = 112
    """Side of the square input in pixels: 112 or 224."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the images that the files decode to; batches are RGB always."""
    batch_size: int = 256
    """Images in a global batch, over all workers."""
    sampler: Literal["pk", "random_identity", "graph", "shuffle"] = "pk"
    """How global batches are planned: `pk`, identities with num_instances images each, every image shown;
    `random_identity`, the same with every identity once an epoch; `graph`, an identity and those that the model finds
    most like it at the start of the epoch; `shuffle`, images in random order."""
    num_instances: int = 4
    """Images of each identity in a batch (the K of P × K)."""
    visibility_batch_size: int | None = None
    """Images in a global batch that only the visibility map is learnt from: faces with masks where the source has
    them, else occluders drawn on training images. None: a quarter of batch_size where the source has faces with
    masks, else 0. At 0 the map is learnt from the occluders that are drawn on the recognition batch."""
    visibility_clean_share: float = 0.2
    """Share of that batch, in [0, 1], that is clean faces, all of them visible."""
    min_images_per_identity: int = 1
    """Identities with fewer images are left out of training."""
    max_images_per_identity: int | None = None
    """Of identities with more images only the first so many are taken."""
    subset: str | None = None
    """A text file that names images, one a line, by record number or, where images are files, by path: only these
    are taken. For ablations."""
    broken_images_tolerated: float = 0.001
    """Share of unreadable images, in [0, 1], above which `prepare` refuses the data set."""
    num_workers: int = 16
    """Processes that decode images, for each training worker; 0 decodes in the training process."""
    pin_memory: bool = True
    """Page-locked batches, for faster copies to a GPU; has no effect without one."""
    persistent_workers: bool = True
    """Keep the decoding processes from one epoch to the next."""
    prefetch_factor: int = 4
    """Batches that each decoding process prepares ahead."""
    synthetic_identities: int = 400
    """Training identities to draw when there is no `source`."""
    synthetic_images_per_identity: int = 16
    """Images of each of them."""
    synthetic_pairs: int = 600
    """Verification pairs to draw from other identities; a multiple of 20 (10 folds, half of them genuine)."""


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities, in [0, 1], of what is done to a training image."""

    flip_prob: float = 0.5
    """Horizontal flip."""
    rect_crop_prob: float = 0.0
    """Random rectangle of 64 to 100 % of the area, enlarged to the whole image."""
    crop_augmentation_prob: float = 0.0
    """Random crop with zero padding (AdaFace)."""
    photometric_augmentation_prob: float = 0.0
    """Brightness, contrast and saturation jitter (AdaFace)."""
    low_res_augmentation_prob: float = 0.0
    """Down- and up-sampling with a random interpolation (AdaFace)."""
    mask_prob: float = 0.5
    """An occluder drawn on the face, its visibility map with it."""
    random_occlusion_prob: float = 0.0
    """A square of one colour, 20 to 80 % of the side, anywhere."""
    erasing_prob: float = 0.0
    """A rectangle of noise, 2 to 40 % of the area, anywhere (random erasing)."""
    occluders: tuple[Occluder, ...] = (
        "surgical",
        "cloth",
        "ffp2",
        "veil",
        "sunglasses",
        "scarf",
        "hand",
        "blocks",
    )
    """What is drawn, each with the same probability."""
    mask_images: tuple[str, ...] = ()
    """Pictures with transparency (PNG) that are drawn as well, laid on like a medical mask; paths that every training
    worker can read."""


@dataclass(frozen=True)
class ModelConfig:
    """The recogniser: backbone, visibility head, margin head, matcher."""

    arch: Arch = "ir_50"
    """Backbone."""
    width: int = 16
    """Channels of the first stage of `ir_mini`; the other backbones have their published widths."""
    weights: str | None = None
    """Pretrained backbone to start from: `.ckpt`, `.pt`, `.safetensors`, or `.onnx` with the same layers in order."""
    weights_channel_order: Literal["rgb", "bgr"] = "rgb"
    """Order that `weights` were trained with; published AdaFace weights want `bgr`."""
    freeze_backbone: bool = False
    """Keep the backbone as `weights` give it; what is on top of it learns: `local_layers`, matcher, visibility head and
    classifier. The global score then stays what it was."""
    head: Literal["adaface", "arcface", "cosface"] = "adaface"
    """Margin head."""
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
    matcher: Literal["qaconv", "transmatcher", "pooled"] = "qaconv"
    """Local matcher: `qaconv`, places as they are; `transmatcher`, places after self-attention, slower and with
    millions of parameters; `pooled`, the embedding of the places that both faces show, made for each pair."""
    weighting: Literal["evidence", "multiply"] = "evidence"
    """How visibility weights the correlations; the matcher's docstring has the formulas."""
    matcher_product: Literal["auto", "fp32", "bf16"] = "fp32"
    """Type of the factors of the matcher's correlations, summed in fp32: `bf16` is faster on GPUs and on processors
    with such instructions (AVX-512 BF16, AMX), slower on others; a correlation is then off by at most 0.006. `auto`:
    `bf16` where `qaconv` is evaluated on a device with such instructions, `fp32` otherwise and in training."""
    k_nearest: int = 32
    """Classes that a sample is classified among by local matching: its own and the nearest others, 2 or more. In effect
    with `loss.softmax_triplet_loss_weight`."""
    visibility_trains_backbone: bool = False
    """Let the visibility loss reach the backbone."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; total = Σ weight · term."""

    adaface_loss_weight: float = 0.1
    """Margin-head cross-entropy."""
    qaconv_loss_weight: float = 0.9
    """Pairwise matching."""
    occlusion_loss_weight: float = 0.1
    """Mean squared error of the visibility map."""
    softmax_triplet_loss_weight: float = 0.0
    """Classification among the nearest classes by local matching, and ranking of the batch's hardest pairs; 0: no class
    embeddings are kept."""
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


@dataclass(frozen=True)
class OptimConfig:
    """Stochastic gradient descent and its schedule."""

    epochs: int = 24
    """Passes over the training set."""
    lr: float = 0.1
    """Learning rate at the global batch size given."""
    scale_lr: bool = False
    """Multiply lr by batch_size · accumulate_grad_batches / 256."""
    schedule: Literal["multistep", "cosine"] = "multistep"
    """Shape of the learning rate over the epochs."""
    lr_milestones: tuple[int, ...] = (8, 12, 14)
    """Epochs at whose start lr is multiplied by lr_gamma (`multistep`)."""
    lr_gamma: float = 0.1
    """That factor."""
    warmup_epochs: float = 0.0
    """Linear warm-up from 0."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 penalty; batch-norm parameters and biases have none."""
    accumulate_grad_batches: int = 1
    """Global batches whose gradients one step takes together."""
    gradient_clip_norm: float | None = None
    """Largest L2 norm of the gradient; None: not clipped."""


@dataclass(frozen=True)
class TrainConfig:
    """The process: workers, precision, checkpoints."""

    nproc: int | None = None
    """Workers on this machine; None: one a GPU, or 1."""
    min_nodes: int = 1
    """Fewest nodes that an elastic run goes on with."""
    max_nodes: int = 1
    """Most nodes that take part."""
    max_restarts: int = 10
    """Restarts after a failed worker or a change of the number of nodes."""
    worker_timeout_seconds: float = 600.0
    """Seconds that a worker waits for the others before it takes them for lost; more than any validation takes."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 on a GPU that has it, else fp32."""
    channels_last: bool = False
    """Memory layout of images and convolutions: N, H, W, C."""
    compile: bool = False
    """torch.compile the backbone."""
    sync_batchnorm: bool = False
    """Batch normalisation in backbone and visibility head over the global batch; False: over each worker's slice, which
    is faster. For slices of fewer than about 32 images."""
    checkpoint_every_steps: int = 0
    """Steps between checkpoints; 0: by time alone."""
    checkpoint_every_seconds: float = 60.0
    """Seconds between checkpoints; so much work a lost worker costs at most."""
    keep_checkpoints: int = 3
    """Newest periodic checkpoints that are kept, beside `best`."""
    val_every_epochs: float = 1.0
    """Epochs, or a fraction of one, between validations."""
    start_from: str | None = None
    """Checkpoint, a file or an address in a store, of which only the weights are taken."""
    log_every_steps: int = 10
    """Steps between two lines of metrics."""
    log_samples: bool = False
    """Write the (epoch, batch, sample numbers) that every worker consumed to `samples-<rank>.jsonl`."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What is proven, and how the two scores are combined."""

    adaface_weight: float = 0.5
    """Weight of the global score in the combined one."""
    qaconv_weight: float = 0.5
    """Weight of the local score."""
    occluders: tuple[Occluder, ...] = ("surgical", "veil", "sunglasses")
    """Occluders drawn on the pairs, one condition each, beside `clean`."""
    block_shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    """Shares of the image, in (0, 0.9], that drawn blocks cover, one condition each."""
    sides: tuple[Sides, ...] = ("second", "both")
    """Images of a pair that are covered: the second alone, both (each by its own drawing), or one after the other."""
    far: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    """False accept rates at which TAR is reported, where the impostor pairs are enough."""
    batch_size: int = 256
    """Images a forward pass."""
    matrix_images: int = 2000
    """Images of a folder of one's own up to which the matrices of all scores are written, 4 bytes a pair and score."""
    pictures: int = 8
    """Pairs of each verification set, about so many, that the report shows; 0 for faces that must not be shared."""


@dataclass(frozen=True)
class PromoteConfig:
    """When a model may take the place of the one in production."""

    non_inferior_by: float = 0.2
    """Points of 10-fold accuracy in %, ≥ 0, that the combined score may lose in any gated set and condition."""
    sets: tuple[str, ...] = ()
    """Verification sets that are gated; empty: all that the model in production was measured on."""
    conditions: tuple[str, ...] = ()
    """Conditions that are gated, as the report names them; empty: all."""
    undecided: Literal["difference", "refuse", "accept"] = "difference"
    """What holds where the pairs are too few to show whether more than non_inferior_by is lost: the measured
    `difference` decides, the model is `refuse`d, or it is `accept`ed."""


@dataclass(frozen=True)
class ExportConfig:
    """The ONNX model and the check of it."""

    opset: int = 20
    """ONNX operator set."""
    preprocessing: bool = True
    """Take uint8 RGB images [B, H, W, 3] and normalise them in the graph; False: float [B, 3, H, W] in [-1, 1]."""
    check_images: int = 64
    """Real images that torch and ONNX must agree on."""
    tolerance: float = 1e-3
    """Largest absolute difference of embeddings, maps and features that passes."""
    check_pairs: int = 200
    """Verification pairs, spread over the first set, on which every exported model's accuracy is compared with the
    trained one's; at least 20."""
    variants: tuple[Literal["fp16", "int8"], ...] = ()
    """Smaller models written beside `model.onnx`: `fp16`, convolutions and matrix products in half precision; `int8`,
    the same in 8 bits, calibrated on training faces."""
    accuracy_loss: float = 0.01
    """Accuracy, as a share in [0, 1], that a variant may lose against the trained model on `check_pairs` pairs."""


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go. The CSV in the run's folder is always written."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases; `auto`: online with WANDB_API_KEY in the environment, else offline."""
    project: str = "oaml"
    """Project in Weights & Biases."""


@dataclass(frozen=True)
class Config:
    """One run, whole."""

    name: str = "oaml"
    """Name of the run: its folder, its prefix in the store, its rendezvous id."""
    seed: int = 0
    """The one seed that all randomness comes from."""
    store: str = "runs"
    """Artifact store: `s3://bucket/prefix` or a folder. Credentials come from the environment."""
    work_dir: str = ".oaml"
    """Local folder for caches and runs in progress."""
    cache_gb: float | None = None
    """Gigabytes, more than 0, that data sets from the store may take below work_dir, and as many that weights to start
    from may: those used longest ago go first, none that is in use. None: no limit."""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    promote: PromoteConfig = field(default_factory=PromoteConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    restoration: RestorationConfig = field(default_factory=RestorationConfig)

    def __post_init__(self) -> None:
        check(self)
