"""Train YuNet on covered faces: `python -m benchmarks.detector_training FACES BACKGROUNDS --out yunet_covered.onnx`.

FACES is a folder with `train.rec`, `train.idx` and `train_meta.json` (five points per record), BACKGROUNDS a folder of
photographs without faces. All weights but the first layer's learn, from the published ones. On each scene of covered
faces the network shall answer as the published one does on the same scene without the cover: its scores at the cells of
each face, and nothing elsewhere; the points are the known ones. A tenth of the people and a quarter of the photographs
are kept for validation: every so many steps the mean of the weights searches them for faces, the verdict is printed,
and the best network so far is written. One core.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmarks.covered_scenes import SceneMaker
from benchmarks.detector_validation import Best, DetectorValidation
from benchmarks.scene_parts import PastedFace, Scene
from benchmarks.told import run
from benchmarks.yunet_module import YuNetModule, load, published_network
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.recordio_source import RecordIOSource
from oaml_core.decoding.decode import decode_image
from oaml_core.photos.alignment import TEMPLATE, similarity
from oaml_core.photos.detection import Floats, Photo
from oaml_core.photos.yunet import HABIT, STRIDES

SIDE = 256
LONGEST = 1600
"""Longer side in pixels that photographs are shrunk to."""
BATCH, FRESH = 8, 2
"""Scenes per step, and how many of them are new; the others were seen before."""
REPLAYED = 400
"""Scenes that are kept to be seen again."""
RATE = 0.004
"""Step of Adam as a share of the root mean square of the weights of a layer: the file's layers differ in scale."""
AVERAGED = 0.995
"""Share of the mean of the weights that a step keeps."""
KEPT_APART = 0.25
"""Share of the photographs that is kept for validation."""
VALIDATED = 1000
"""Steps from one validation to the next."""
SCENES = 60
"""Scenes per cover to validate with."""
MISSED = 0.6
"""Best score of the published network below which it misses an uncovered face, and the face's middle cell is given."""
POSITIVE = 0.4
"""Wanted score from which on a cell learns box and points."""
LEVELS = (45.0, 110.0)
"""Heights in pixels of faces from which on the second and the third grid find them."""
FACE_BOX = np.array([[14.0, 14.0], [98.0, 110.0]])
"""Left upper and right lower corner of YuNet's box in the 112 × 112 template."""


def split(folder: Path, backgrounds: Path, cache: Path) -> dict[str, tuple[list[PastedFace], list[Photo]]]:
    """Return faces and photographs for training and for validation; no person and no photograph is in both."""
    source = RecordIOSource(LocalFolder(folder), cache)
    if source.landmarks is None:
        raise SystemExit(f"{folder} has no landmarks in train_meta.json.")
    draws = np.random.default_rng(0)
    last = (source.labels.max() + 1) * 0.9
    rows = draws.permutation(np.flatnonzero(source.labels < last))[:4000], np.flatnonzero(source.labels >= last)
    files = draws.permutation(sorted(str(path) for path in backgrounds.iterdir()))
    cut = int(len(files) * (1 - KEPT_APART))
    made = {}
    for part, chosen, names in zip(("train", "validation"), rows, (files[:cut], files[cut:]), strict=True):
        faces = [
            PastedFace(decode_image(source.read(int(row))), source.landmarks[row].astype(np.float64)) for row in chosen
        ]
        made[part] = (faces, [small_photo(name) for name in names])
    return made


def small_photo(name: str) -> Photo:
    """Return a photograph of at most `LONGEST` pixels a side."""
    picture = Image.open(name).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def pixels(photos: Sequence[Photo]) -> Tensor:
    """Return photographs of one size as the network takes them: float [B, 3, H, W], blue first, 0 to 255."""
    batch = torch.from_numpy(np.stack(photos)[..., ::-1].copy()).permute(0, 3, 1, 2)
    return batch.float().contiguous(memory_format=torch.channels_last)


def cells(side: int) -> tuple[Tensor, Tensor]:
    """Return column and row [n, 2] and stride [n, 1] of all cells of a picture, as the network's outputs lie."""
    places, strides = [], []
    for stride in STRIDES:
        row, column = np.divmod(np.arange((side // stride) ** 2), side // stride)
        places.append(np.stack([column, row], 1))
        strides.append(np.full((len(row), 1), stride))
    return torch.from_numpy(np.concatenate(places)).float(), torch.from_numpy(np.concatenate(strides)).float()


def boxes_of(outputs: Tensor, place: Tensor, stride: Tensor) -> Tensor:
    """Return the boxes [n, 4] (middle, width, height; pixels) of outputs [n, 16]."""
    return torch.cat([(place + outputs[:, 1:3]) * stride, outputs[:, 3:5].exp() * stride], 1)


def targets(taught: Tensor, faces: Floats, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is wanted of all cells of one scene.

    Args:
        taught: outputs [n, 16] of the published network on the uncovered scene.
        faces: points [m, 5, 2].
        side: of the scene in pixels.

    Returns:
        Scores cls and obj [n, 2]; number of the face [n], -1 where there is none; boxes [m, 4], see `boxes_of`.
    """
    place, stride = cells(side)
    chances = taught[:, [0, 5]].sigmoid()
    score = chances.prod(1).sqrt()
    seen = boxes_of(taught, place, stride)
    wanted, owner = torch.zeros_like(chances), torch.full((len(place),), -1)
    boxes = torch.zeros(len(faces), 4)
    for number, points in enumerate(faces):
        box = torch.from_numpy(template_box(points)).float()
        away = ((place * stride - box[:2]).abs() / box[2:]).amax(1)
        alike = (away < 0.5) & ((seen[:, 3] / box[3]).log().abs() < 0.5)
        alike &= ((seen[:, :2] - box[:2]).abs() / box[2:]).amax(1) < 0.3
        best = torch.where(alike, score, 0.0)
        if best.max() >= MISSED:
            boxes[number] = seen[best.argmax()]
            owner[alike] = number
            wanted[alike] = chances[alike]
        else:
            boxes[number] = box
            level = STRIDES[int(np.searchsorted(LEVELS, float(box[3])))]
            near = (stride[:, 0] == level) & ((place * stride - box[:2]).abs().amax(1) <= 0.75 * level)
            owner[near], wanted[near] = number, 0.9
    return wanted, owner, boxes


def template_box(points: Floats) -> Floats:
    """Return the box of a face by its points: middle, width and height; a little larger if the face is turned."""
    matrix = similarity(TEMPLATE + HABIT, points, np.ones(5))
    scale = float(np.hypot(*matrix[:, 0]))
    middle = FACE_BOX.mean(0) @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([middle, (FACE_BOX[1] - FACE_BOX[0]) * scale])


def loss_of(
    given: Tensor, wanted: Tensor, owner: Tensor, boxes: Tensor, points: Tensor, side: int
) -> dict[str, Tensor]:
    """Return the losses of a batch by name: scores (quality focal loss), boxes and points (L1, by the face's size).

    Args:
        given: outputs [B, n, 16].
        wanted: [B, n, 2], see `targets`.
        owner: [B, n], numbers of faces of the batch.
        boxes: [m, 4], of all faces of the batch.
        points: [m, 5, 2].
        side: of the scenes in pixels.
    """
    place, stride = cells(side)
    logits = given[..., [0, 5]]
    away = (logits.sigmoid() - wanted).abs().detach()
    # The published network was not taught cls where there is no face: there it counts as far as obj takes it for one.
    counts = torch.stack([torch.where(owner >= 0, 1.0, logits[..., 1].sigmoid().detach()), torch.ones(owner.shape)], -1)
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    scores = (counts * away * entropy).sum()
    learns = (owner >= 0) & (wanted.prod(2).sqrt() >= POSITIVE)
    count = max(1, int(learns.sum()))
    cell = learns.nonzero()[:, 1]
    face, outputs, at, step = owner[learns], given[learns], place[cell], stride[cell]
    box, height = boxes[face], boxes[face][:, 3:]
    middle = ((at + outputs[:, 1:3]) * step - box[:, :2]).abs() / height
    size = (outputs[:, 3:5] - (box[:, 2:] / step).log()).abs()
    found = (at[:, None] + outputs[:, 6:].reshape(-1, 5, 2)) * step[:, None]
    eyes = (points[face, 1] - points[face, 0]).norm(dim=1)[:, None, None]
    spread = ((found - points[face]).abs() / eyes).mean((1, 2))
    return {"scores": scores / count, "boxes": (middle + size).mean(1).sum() / count, "points": spread.sum() / count}


class Replay:
    """Scenes with their targets, new ones and such that were seen before, mirrored at times."""

    def __init__(self, maker: SceneMaker, teacher: YuNetModule, side: int) -> None:
        self._maker, self._teacher, self._side = maker, teacher, side
        self._kept: list[tuple[Scene, Tensor, Tensor, Tensor]] = []
        self._draws = np.random.default_rng(0)

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return pixels, and what `loss_of` takes."""
        self._learn(FRESH if len(self._kept) >= BATCH else BATCH)
        newest = list(range(len(self._kept) - FRESH, len(self._kept)))
        older = self._draws.integers(0, len(self._kept) - FRESH, BATCH - FRESH).tolist()
        chosen = [self._kept[number] for number in newest + older]
        self._kept = self._kept[-REPLAYED:]
        count = np.cumsum([0, *(len(one[0].points) for one in chosen)])
        owner = torch.stack(
            [torch.where(one[2] >= 0, one[2] + int(first), -1) for one, first in zip(chosen, count, strict=False)]
        )
        points = torch.from_numpy(np.concatenate([one[0].points for one in chosen])).float()
        photos = pixels([one[0].covered for one in chosen])
        return photos, torch.stack([one[1] for one in chosen]), owner, torch.cat([one[3] for one in chosen]), points

    def _learn(self, count: int) -> None:
        scenes = [self._maker.scene() for _ in range(count)]
        with torch.no_grad():
            taught = torch.cat(self._teacher(pixels([scene.uncovered for scene in scenes])), 1)
        for scene, outputs in zip(scenes, taught, strict=True):
            self._kept.append((scene, *targets(outputs, scene.points, self._side)))


def train(network: YuNetModule, replay: Replay, minutes: float, best: Best, every: int) -> None:
    """Train for so many minutes with a rate that falls as a cosine; the mean of the weights is judged as it goes.

    Args:
        network: it is changed.
        replay: scenes.
        minutes: of training and validation together.
        best: is given the mean of the weights.
        every: steps from one judgement to the next; there is one at the end.
    """
    network.stem.requires_grad_(False)
    groups = [
        {"params": [value], "lr": 1.0, "scale": RATE * float(value.detach().square().mean().sqrt())}
        for value in network.parameters()
        if value.requires_grad
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    mean, started, step = copy.deepcopy(network), time.monotonic(), 0
    said: dict[str, float] = {}
    while (share := (time.monotonic() - started) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = group["scale"] * min(1.0, (step + 1) / 50) * 0.5 * (1 + np.cos(np.pi * share))
        photos, *wanted = replay.batch()
        losses = loss_of(torch.cat(network(photos), 1), *wanted, side=SIDE)
        loss = losses["scores"] + losses["boxes"] + 3 * losses["points"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 100.0)
        optimiser.step()
        kept = min(AVERAGED, step / (step + 10))
        with torch.no_grad():
            for averaged, value in zip(mean.parameters(), network.parameters(), strict=True):
                averaged.lerp_(value, 1 - kept)
        for name, value in ((name, float(loss.detach())) for name, loss in losses.items()):
            said[name] = 0.98 * said.get(name, value) + 0.02 * value
        if step % 50 == 0:
            text = ", ".join(f"{name} {value:.3f}" for name, value in said.items())
            print(f"step {step}, {100 * share:.0f} %: {text}", flush=True)
        step += 1
        if step % every == 0:
            best.meet(mean, step)
    if step % every:
        best.meet(mean, step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("backgrounds", type=Path)
    parser.add_argument("--out", type=Path, default=Path("yunet_covered.onnx"))
    parser.add_argument("--start", type=Path, help="network to train on; the published one unless given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--validated", type=int, default=VALIDATED, help="steps from one validation to the next")
    options = parser.parse_args()
    torch.manual_seed(0)
    parts = split(options.faces, options.backgrounds, options.out.parent)
    teacher = load(published_network()).to(memory_format=torch.channels_last)
    replay = Replay(SceneMaker(*parts["train"], seed=options.seed, side=SIDE), teacher, SIDE)
    start = load(options.start or published_network()).to(memory_format=torch.channels_last)
    best = Best(DetectorValidation(*parts["validation"], SCENES), start, options.out)
    train(start, replay, options.minutes, best, options.validated)
    print(f"{options.out}: {best.verdict}")


if __name__ == "__main__":
    run(main)
