"""Which rule of visibility weighting is better, on real faces that a published network describes.

    python -m benchmarks.weighting --faces lfw112 --weights mobilefacenet_y1.onnx

The network stays as it is, and visibility is the true mask. With `--steps`, one matcher for each rule first learns its
few parameters on the training identities, half of their images covered by training artwork; without, it is as it
starts. Then half of the pairs of the verification set are compared, the second image (or both) covered by other
artwork. TAR counts all pairs of a genuine pair's first image with another's second one as impostors; accuracy is that
of the ten folds of the set's own pairs.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.told import run
from oaml_core import stages
from oaml_core.config import Config, DataConfig, ModelConfig
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.evaluation.scoring.conditions import Condition, condition_named
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.evaluation.statistics.roc import roc, tar_at_far
from oaml_core.losses.pairwise import pair_scores, pairwise_matching_loss
from oaml_core.models.backbone import Backbone
from oaml_core.models.build import build_backbone, build_matcher
from oaml_core.models.matcher import Matcher, Product
from oaml_core.models.pretrained import load_backbone
from oaml_core.visibility import resize_visibility

TEST = ("clean", "surgical", "sunglasses", "scarf", "blocks-30", "surgical-both")
TRAINING = ("cloth", "ffp2", "veil", "hand")
"""Kinds that the test does not show."""
IMAGES = 4
"""Images of each training identity; those with fewer are left out."""
EVERY = 2
"""Step through the pairs of the verification set."""


class FaceOutputs(NamedTuple):
    """What the network says of n images."""

    maps: Tensor
    """float16 [n, C, h, w]"""
    visibility: Tensor
    """float32 [n, 1, h, w], the true one."""
    embedding: Tensor
    """float32 [n, E]"""


@torch.inference_mode()
def described(backbone: Backbone, images: Tensor, masks: Tensor) -> FaceOutputs:
    """Features of uint8 [n, 3, H, W]."""
    parts = [backbone(part.float() / 127.5 - 1) for part in images.split(64)]
    maps = torch.cat([part[0].half() for part in parts])
    embedding = torch.nn.functional.normalize(torch.cat([part[1] for part in parts]), dim=1)
    return FaceOutputs(maps, resize_visibility(masks, (maps.shape[2], maps.shape[3])), embedding)


def training_faces(backbone: Backbone, dataset: PreparedDataset, seed: int) -> tuple[FaceOutputs, FaceOutputs, Tensor]:
    """Training images as they are, the same covered, and their labels."""
    labels, faces = np.asarray(dataset.train.labels), dataset.train
    rich = np.flatnonzero(np.bincount(labels) >= IMAGES)
    chosen = [row for label in rich for row in np.flatnonzero(labels == label)[:IMAGES]]
    images = torch.stack([faces.read(row) for row in chosen])
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for image, row in zip(images, chosen, strict=True):
        kind = TRAINING[int(torch.randint(len(TRAINING), (), generator=generator))]
        points = None if faces.landmarks is None else torch.from_numpy(np.array(faces.landmarks[row]))
        drawn.append(draw_occluder(image, points, kind, generator))
    covered, masks = (torch.stack(x) for x in zip(*drawn, strict=True))
    return (
        described(backbone, images, torch.ones_like(masks)),
        described(backbone, covered, masks),
        torch.from_numpy(labels[chosen]),
    )


def verification_faces(
    backbone: Backbone, pairs: VerificationSet, condition: Condition
) -> tuple[FaceOutputs | None, FaceOutputs]:
    """First and second images of the pairs under a condition; the first ones only where it covers them."""
    images = torch.from_numpy(np.array(pairs.images)).permute(0, 3, 1, 2)
    numbers = np.arange(len(pairs))[::EVERY]
    first, second = (
        described(backbone, *condition.apply(images[side :: 2 * EVERY], numbers, pairs.landmarks, side))
        if condition.covers(side) or condition.name == "clean"
        else None
        for side in (0, 1)
    )
    assert second is not None
    return first, second


def learnt(
    name: str,
    weighting: str,
    product: Product,
    faces: tuple[FaceOutputs, FaceOutputs, Tensor],
    options: argparse.Namespace,
) -> tuple[Matcher, list[float]]:
    """A matcher after `steps` batches of pairwise matching; the loss of each."""
    clean, covered, labels = faces
    torch.manual_seed(0)
    known = "evidence" if weighting == "unweighted" else weighting
    config = ModelConfig(matcher=name, weighting=known, matcher_product=product)  # type: ignore[arg-type]
    matcher = build_matcher(config, clean.maps.shape[1], (clean.maps.shape[2], clean.maps.shape[3])).train()
    if not options.steps:
        return matcher.eval(), []
    optimiser = torch.optim.Adam(matcher.parameters(), options.lr[name])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.lr[name], total_steps=options.steps)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(options.steps):
        first = IMAGES * torch.randperm(len(labels) // IMAGES, generator=generator)[: options.batch // IMAGES]
        rows = (first[:, None] + torch.arange(IMAGES)).flatten()
        hidden = torch.rand(len(rows), generator=generator) < 0.5
        maps = torch.where(hidden[:, None, None, None], covered.maps[rows], clean.maps[rows]).float()
        seen = torch.where(hidden[:, None, None, None], covered.visibility[rows], 1.0)
        visible = None if weighting == "unweighted" else seen
        scores = matcher.match(maps, maps, visible, visible)
        pairs = pair_scores(scores, labels[rows], labels[rows], torch.arange(len(rows)))
        loss = pairwise_matching_loss(pairs).loss.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return matcher.eval(), losses


def figures(scores: Tensor, by_pair: Tensor, genuine: Tensor, pairs: VerificationSet) -> tuple[float, float]:
    """TAR at FAR 1e-3 among all pairs of genuine images, accuracy of the ten folds; in per cent."""
    assert pairs.identities is not None
    people = pairs.identities[:: 2 * EVERY][genuine.numpy()]
    same = people[:, None] == people
    own = np.eye(len(people), dtype=bool)
    # Different images of one person that make no pair of the set are left out.
    tar = tar_at_far(roc(scores.numpy()[own | ~same], own[own | ~same]), [1e-3])[0].tar
    assert tar is not None
    return 100 * tar, 100 * ten_fold_any_range(by_pair.numpy(), pairs.issame[::EVERY]).accuracy


@torch.inference_mode()
def scored(
    matcher: Matcher | None, faces: tuple[FaceOutputs, FaceOutputs], genuine: Tensor, weighted: bool
) -> tuple[Tensor, Tensor]:
    """All first with all second images of genuine pairs, and all pairs of the set; without matcher, embeddings."""
    first, second = faces
    if matcher is None:
        return first.embedding[genuine] @ second.embedding[genuine].T, (first.embedding * second.embedding).sum(1)
    sides = [(f.maps.float(), f.visibility if weighted else None) for f in (first, second)]
    (a, v), (b, u) = sides
    part = [None if x is None else x[genuine] for x in (v, u)]
    return matcher.match(a[genuine], b[genuine], *part), matcher.match_pairs(a, b, v, u)


def compare(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    config = Config(
        data=DataConfig(source=str(options.faces)), work_dir=str(options.work), store=str(options.work / "store")
    )
    dataset = stages.fetch_dataset(config, stages.prepare(config).dataset_uri)
    backbone = build_backbone("mobilefacenet")
    load_backbone(backbone, options.weights)
    backbone.eval()
    cache = options.work / "weighting.pt"
    if not cache.exists():
        (pairs,) = dataset.verification.values()
        shown = {name: verification_faces(backbone, pairs, condition_named(name)) for name in TEST}
        torch.save((training_faces(backbone, dataset, 0), shown), cache)
    training, shown = torch.load(cache, weights_only=False)
    (pairs,) = dataset.verification.values()
    genuine = torch.from_numpy(np.flatnonzero(pairs.issame[::EVERY]))
    print(f"{'TAR % at FAR 1e-3 (accuracy %)':34}" + "".join(f"{name:>16}" for name in TEST), flush=True)
    compared = itertools.product(options.matchers, options.rules, options.products)
    for name, rule, product in [("embedding", "", ""), *compared]:
        matcher = None
        if name != "embedding":
            matcher, losses = learnt(name, rule, product, training, options)
            if losses:
                rule += f", loss {np.mean(losses[:10]):.1f} → {np.mean(losses[-20:]):.1f}"
        cells = []
        for condition in TEST:
            faces = shown[condition][0] or shown["clean"][0], shown[condition][1]
            found = figures(*scored(matcher, faces, genuine, "unweighted" not in rule), genuine, pairs)
            cells.append("{:8.1f} ({:5.1f})".format(*found))
        print(f"{f'{name} {rule} {product}':34}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".oaml/weighting"), help="prepared data and cached features")
    parser.add_argument("--matchers", nargs="+", default=["qaconv"])
    parser.add_argument("--rules", nargs="+", default=["unweighted", "multiply", "evidence"])
    parser.add_argument("--products", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--steps", type=int, default=0, help="of learning; 0: all places count alike")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    arguments.lr = {"qaconv": 0.01, "transmatcher": 0.0003}
    compare(arguments)


if __name__ == "__main__":
    run(main)
