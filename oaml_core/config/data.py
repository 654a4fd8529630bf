"""Configuration of data and augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive, check_shares
from oaml_core.config.occluders import DRAWN, check_occluders
from oaml_core.errors import ConfigError
from oaml_core.registry import SAMPLERS


@dataclass(frozen=True)
class DataConfig:
    """Settings of the source of faces and of the batches."""

    source: str | None = None
    """Folder, or `s3://bucket/prefix`, that holds `train.rec` or one folder per identity or `train.csv`, and
    verification `.bin` sets. None: synthetic faces are drawn."""
    inventory: str | None = None
    """S3 Inventory that lists `source` in place of requests to the bucket: `s3://bucket/…/manifest.json`, or the folder
    above its dates, of which the newest complete one is read. CSV or Parquet, with the columns Size and ETag. Objects
    that came later are not seen. None: the bucket is listed."""
    verification_source: str | None = None
    """Folder or `s3://` prefix that holds the verification sets; None: they lie in `source`."""
    visibility_source: str | None = None
    """Folder or `s3://` prefix that holds faces with masks (`kept_faces/`, `masks/`); None: they lie in `source`."""
    unlabelled_source: str | None = None
    """Folder or `s3://` prefix that holds faces of other people, whoever they are. Each counts as a person of its own:
    they serve distillation, and as strangers. None: there are none."""
    held_out_share: float = 0.1
    """Share of the people, in [0, 1), held out of training and paired where there is no verification set: at least 10
    people, if a batch can spare them. Their names decide who. 0: nobody is, and nothing then proves the model."""
    image_size: int = 112
    """Side of the square input in pixels: 112 or 224."""
    align: bool = False
    """The images are photographs: the main face of each is found, aligned and used in its place; photographs without
    a face are listed and left out. Of verification sets, those of image files are treated so too."""
    detector: str = "yunet"
    """Detector of these faces: `yunet`, the name of a registered detector, or an ONNX file."""
    channel_order: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the images that the files decode to; batches are RGB always."""
    batch_size: int = 256
    """Images in a global batch, over all workers."""
    sampler: str = "pk"
    """How global batches are planned: `pk`, identities with num_instances images each, every image shown;
    `pk_local`, the same batches, each in the order of the data set, so that a node which streams it needs a part of it;
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
    """Most images taken per identity: the first ones; None: all."""
    subset: str | None = None
    """A text file that names images: only these are taken. One a line, by record number or, where images are files,
    by path; or one line of comma-separated positions, counted from 0 as torchvision's `ImageFolder` orders the images
    (AdaFace's `ms1mv2_train_subset_index.txt`); or LFW's `people.txt`."""
    occluders: str | None = None
    """Folder of cut-outs, RGBA files in sub-folders named by kind (glasses, sunglasses, eyeglasses, mask, scarf, hat;
    others lie anywhere), that are laid on faces beside drawn occluders; a path that every training worker can read.
    About 30 % of the pictures, by what they show, are held out for `evaluate.occluders`."""
    broken_images_tolerated: float = 0.001
    """Share of unreadable images, in [0, 1], above which `prepare` refuses the data set."""
    fetch: Literal["auto", "copy", "stream"] = "auto"
    """How a node gets the prepared training images: `copy` brings all of them before the first step; `stream` begins at
    once, reads images from the store, and brings their parts meanwhile, as many as the volume and `cache_gb` allow.
    Batches and results are the same. `auto`: copy what fits the volume and `cache_gb`, else stream."""
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
    crop_area: tuple[float, float] = (0.2, 1.0)
    """Least and largest share of the area that such a crop keeps."""
    low_res_side: tuple[float, float] = (0.2, 1.0)
    """Least and largest share of the side that down-sampling goes to."""
    low_res_before_colour: bool = False
    """Lower the resolution before the colour jitter, as AdaFace's code does, instead of after it."""
    mask_prob: float = 0.5
    """An occluder drawn on the face, its visibility map with it."""
    random_occlusion_prob: float = 0.0
    """A square of one colour anywhere."""
    random_occlusion_side: tuple[float, float] = (0.2, 0.8)
    """Least and largest side of that square, as shares of the image's shorter side. 1.0, as in QAConv's code, leaves
    nothing of the face to learn from."""
    erasing_prob: float = 0.0
    """A rectangle of 2 to 40 % of the area anywhere (random erasing)."""
    erasing_mean: tuple[float, float, float] | None = None
    """Colour of that rectangle: red, green and blue in [0, 1], such as the mean of the training images. None: noise."""
    occluders: tuple[str, ...] = DRAWN
    """Occluders to draw, each with the same probability; `mask` is any mask, `cutout:scarf` a cut-out of that kind, and
    `mask+sunglasses` both together."""
    cutout_share: float = 0.5
    """Share of the covered faces that wear a cut-out instead of a drawing, where `data.occluders` names a folder."""
    combination_share: float = 0.15
    """Share of the covered faces that wear a second occluder on another part of the face."""
    shadow_prob: float = 0.0
    """A shadow that an occluder throws on the face beside it; it darkens pixels that the map calls visible."""
    dye_prob: float = 0.0
    """Other colours, and at times a print, of an occluder: a few pictures stand for many things of their kind."""
    camera_prob: float = 0.0
    """Blur and JPEG compression of the whole picture, covered or not."""
    misalignment_prob: float = 0.0
    """A small shift, turn and scaling of face and cover, as landmarks that were found inexactly cause."""
    edge_prob: float = 0.0
    """The photograph ends inside of the aligned face: beyond its edge the image is black, or repeats the edge."""
    mask_images: tuple[str, ...] = ()
    """Pictures with transparency (PNG) that are drawn as well, laid on like a medical mask; paths that every training
    worker can read."""


def check_data(data: DataConfig) -> None:
    """Refuse values of `data` that cannot work.

    Raises:
        ConfigError: names the key to change.
    """
    check_shares(
        {
            f"data.{name}": getattr(data, name)
            for name in ("broken_images_tolerated", "visibility_clean_share", "held_out_share")
        }
    )
    check_positive({f"data.{name}": getattr(data, name) for name in ("batch_size", "num_instances")})
    if (data.visibility_batch_size or 0) < 0:
        raise ConfigError(
            f"data.visibility_batch_size is {data.visibility_batch_size}; it is a number of images, 0 or more."
        )
    if data.image_size not in (112, 224):
        raise ConfigError(f"data.image_size is {data.image_size}; the backbones take 112 or 224.")
    if data.align and data.channel_order != "rgb":
        raise ConfigError("data.align takes photographs, whose files are RGB: leave data.channel_order at rgb.")
    if data.align and data.source is None:
        raise ConfigError("data.align needs photographs: name their folder as data.source.")
    if data.inventory is not None:
        for name, value in (("inventory", data.inventory), ("source", data.source)):
            if value is None or not value.startswith("s3://"):
                raise ConfigError(
                    f"data.{name} is {value}, and data.inventory lists a source in S3: give both as s3:// addresses, "
                    "or leave data.inventory out."
                )
    SAMPLERS.check(data.sampler, "data.sampler")
    if data.sampler != "shuffle" and data.batch_size % data.num_instances:
        raise ConfigError(
            f"data.batch_size {data.batch_size} is not a multiple of data.num_instances "
            f"{data.num_instances}: a batch holds whole identities. Change one of the two."
        )
    if data.occluders is not None and "://" in data.occluders:
        raise ConfigError(f"data.occluders is {data.occluders}; it is a folder on disk. Copy the cut-outs there.")
    if data.synthetic_pairs % 20:
        raise ConfigError(f"data.synthetic_pairs is {data.synthetic_pairs}; it must be a multiple of 20.")


def check_augment(augment: AugmentConfig, cutouts: str | None = None) -> None:
    """Refuse probabilities outside [0, 1], ranges upside down, and occluders that there are not.

    Args:
        augment: values to check.
        cutouts: `data.occluders`.

    Raises:
        ConfigError: names the key to change.
    """
    shares = [name for name in vars(augment) if name.endswith(("_prob", "_share"))]
    check_shares({f"augment.{name}": getattr(augment, name) for name in shares})
    for name in ("crop_area", "low_res_side", "random_occlusion_side"):
        least, most = getattr(augment, name)
        if not 0 < least <= most <= 1:
            raise ConfigError(f"augment.{name} is [{least}, {most}]; give two shares in (0, 1], the smaller first.")
    if augment.erasing_mean is not None and not all(0 <= channel <= 1 for channel in augment.erasing_mean):
        raise ConfigError(
            f"augment.erasing_mean is {list(augment.erasing_mean)}; give red, green and blue as numbers in [0, 1]."
        )
    check_occluders(augment.occluders, "augment.occluders", cutouts)
