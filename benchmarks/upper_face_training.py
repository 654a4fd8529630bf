"""Train the upper-face head: `python -m benchmarks.upper_face_training FACES BACKGROUNDS --out upper_face.onnx`.

FACES is a folder with `train.rec`, `train.idx` and `train_meta.json` (five points per record), BACKGROUNDS a folder of
photographs without faces. YuNet stays as it is: the head reads the three feature maps in front of its own heads and
says per cell how likely the middle between two eyes lies there, and where both eyes are. A tenth of the people and an
eighth of the photographs are kept for validation. Minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from benchmarks.upper_face_scenes import SIDE, PastedFace, SceneMaker
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.recordio_source import RecordIOSource
from oaml_core.decoding.decode import decode_image
from oaml_core.photos.detection import Floats, Photo
from oaml_core.photos.yunet import FEATURES, STRIDES, YuNet

CORE = {8: (6, 20), 16: (13, 42), 32: (28, 130)}
"""Distances of the eyes in pixels that a grid has to find."""
ALSO = {8: (4.5, 27), 16: (9, 58), 32: (20, 170)}
"""Distances at which a grid may find them or not."""
WIDTH = 32
LONGEST = 1600
"""Longer side in pixels that photographs are shrunk to."""
RANDOM = {8: 70, 16: 50, 32: 35}
"""Random cells without eyes per scene, by stride."""
LEAST_HARD = -4.0
"""Logit from which on a cell without eyes is a hard one."""


class Head(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolution of one grid: logit, and both eyes less the cell's middle in steps of 2 s."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(64, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, 5, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.layers(features)
        return found

    def at_patches(self, patch: Tensor) -> Tensor:
        """Return [m, 5] for the middles of patches [m, 64, 3, 3], what lies beyond the picture's edge being 0."""
        first, _, second, _, last = self.layers
        inside = (patch.abs().sum(1, keepdim=True) > 0).float()
        hidden = first(patch).relu() * inside
        hidden = nn.functional.conv2d(hidden, second.weight, second.bias).relu()
        found: Tensor = last(hidden)[:, :, 0, 0]
        return found


def targets(eyes: Floats, stride: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return per cell 1 (eyes), 0 (none) or -1 (either), int8 [g, g]; and both eyes, float32 [4, g, g]."""
    grid = SIDE // stride
    row, column = (np.mgrid[:grid, :grid] + 0.5) * stride
    wanted = np.zeros((grid, grid), np.int8)
    places = np.zeros((4, grid, grid), np.float32)
    for pair in eyes:
        distance, middle = float(np.hypot(*(pair[1] - pair[0]))), pair.mean(0)
        away = np.hypot(column - middle[0], row - middle[1])
        in_core = CORE[stride][0] <= distance <= CORE[stride][1]
        if not ALSO[stride][0] <= distance <= ALSO[stride][1]:
            wanted[away < 0.3 * distance] = -1
            continue
        wanted[away < max(0.9 * distance, 1.5 * stride)] = -1
        if in_core:
            near = (away < 0.3 * distance) | (away == away.min())
            wanted[near] = 1
            for number, value in enumerate(pair.ravel()):
                places[number][near] = (value - (column, row)[number % 2][near]) / (2 * stride)
    return wanted, places


def split(folder: Path, backgrounds: Path, cache: Path) -> dict[str, tuple[list[PastedFace], list[Photo]]]:
    """Return faces and photographs for training and for validation; no person and no photograph is in both."""
    source = RecordIOSource(LocalFolder(folder), cache)
    if source.landmarks is None:
        raise SystemExit(f"{folder} has no landmarks in train_meta.json.")
    draws = np.random.default_rng(0)
    last = (source.labels.max() + 1) * 0.9
    rows = draws.permutation(np.flatnonzero(source.labels < last))[:2500], np.flatnonzero(source.labels >= last)
    files = draws.permutation(sorted(str(path) for path in backgrounds.iterdir()))
    cut = int(len(files) * 0.88)
    made = {}
    for part, chosen, names in zip(("train", "validation"), rows, (files[:cut], files[cut:]), strict=True):
        faces = [
            PastedFace(decode_image(source.read(int(row))), source.landmarks[row].astype(np.float64)) for row in chosen
        ]
        made[part] = (faces, [small_photo(name) for name in names])
    return made


def small_photo(name: str) -> Photo:
    """Return a photograph of at most `LONGEST` pixels per side."""
    picture = Image.open(name).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def patches(maps: NDArray[np.float16], cells: NDArray[np.int64]) -> NDArray[np.float16]:
    """Return what the head reads at cells [m, 3] of scene, row and column: [m, 64, 3, 3], 0 beyond the edge."""
    padded = np.zeros((len(cells), 64, 3, 3), np.float16)
    grid = maps.shape[2]
    for down, right in np.ndindex(3, 3):
        row, column = cells[:, 1] + down - 1, cells[:, 2] + right - 1
        there = (row >= 0) & (row < grid) & (column >= 0) & (column < grid)
        padded[there, :, down, right] = maps[cells[there, 0], :, row[there], column[there]]
    return padded


class Examples:
    """Cells with eyes and without from the scenes of one grid."""

    def __init__(self, maps: NDArray[np.float16], wanted: NDArray[np.int8], places: NDArray[np.float32]) -> None:
        self._maps, self._wanted = maps, wanted
        eyes = np.argwhere(wanted == 1)
        self._patches, self._truth = [patches(maps, eyes)], [np.ones(len(eyes), np.float32)]
        self._places = [places[eyes[:, 0], :, eyes[:, 1], eyes[:, 2]]]

    def add_random(self, each: int, draws: np.random.Generator) -> None:
        """Add `each` cells without eyes per scene."""
        for scene, wanted in enumerate(self._wanted):
            cells = draws.choice(np.argwhere(wanted == 0), each)
            self._add(np.column_stack([np.full(each, scene), cells]))

    def add_hard(self, head: Head, each: int) -> None:
        """Add per scene up to `each` cells without eyes that the head takes for eyes most."""
        for scene, wanted in enumerate(self._wanted):
            with torch.no_grad():
                logit = head(torch.from_numpy(self._maps[scene : scene + 1]).float())[0, 0].numpy()
            logit[wanted != 0] = -np.inf
            worst = np.argsort(-logit.ravel())[:each]
            worst = worst[logit.ravel()[worst] > LEAST_HARD]
            self._add(np.column_stack([np.full(len(worst), scene), *np.divmod(worst, len(wanted))]))

    def _add(self, cells: NDArray[np.int64]) -> None:
        self._patches.append(patches(self._maps, cells))
        self._truth.append(np.zeros(len(cells), np.float32))
        self._places.append(np.zeros((len(cells), 4), np.float32))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return patches [m, 64, 3, 3], truth [m], and both eyes [m, 4]."""
        patch, truth, places = (np.concatenate(part) for part in (self._patches, self._truth, self._places))
        return torch.from_numpy(patch), torch.from_numpy(truth), torch.from_numpy(places)


def fit(head: Head, examples: Examples, epochs: int, rate: float, batch: int = 256) -> float:
    """Minimise cross-entropy and smooth L1 of the eyes' places by AdamW; returns the last epoch's mean loss."""
    patch, truth, places = examples.tensors()
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-3)
    steps = -(-len(patch) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(patch)).split(batch):
            found, here = head.at_patches(patch[rows].float()), truth[rows]
            cross = nn.functional.binary_cross_entropy_with_logits(found[:, 0], here, weight=1 + 2 * here)
            eyes = here > 0
            away = nn.functional.smooth_l1_loss(found[eyes, 1:], places[rows][eyes], beta=0.1, reduction="sum")
            loss = 4 * cross + 0.5 * away / max(1, int(eyes.sum()))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
    return total / steps


def learn(maker: SceneMaker, scenes: int, epochs: int) -> dict[int, Head]:
    """Train a head per grid on the features of `scenes` scenes, kept in half precision."""
    look, draws = YuNet().maps, np.random.default_rng(0)
    drawn = [maker.scene() for _ in range(scenes)]
    heads = {}
    for name, stride in zip(FEATURES, STRIDES, strict=True):
        maps = np.concatenate([look(photo)[name].astype(np.float16) for photo, _ in drawn])
        wanted, places = (np.stack(part) for part in zip(*(targets(eyes, stride) for _, eyes in drawn), strict=True))
        head, examples = Head(), Examples(maps, wanted, places)
        examples.add_random(RANDOM[stride], draws)
        print(f"stride {stride}: loss {fit(head, examples, epochs, 4e-3):.3f}", flush=True)
        for _ in range(2):
            examples.add_hard(head, 25)
            print(f"stride {stride}, hard cells added: loss {fit(head, examples, epochs, 3e-3):.3f}", flush=True)
        heads[stride] = head
    return heads


def save(heads: dict[int, Head], path: Path, notes: dict[str, str]) -> None:
    """Write the heads as one ONNX file: three feature maps in; scores and eyes of each grid out."""
    nodes, weights, inputs, outputs = [], [], [], []
    for name, stride in zip(FEATURES, STRIDES, strict=True):
        grid = SIDE // stride
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, grid, grid]))
        last = name
        layers = list(heads[stride].layers)
        for number, layer in enumerate(layers):
            made = f"s{stride}_{number}"
            if isinstance(layer, nn.ReLU):
                nodes.append(helper.make_node("Relu", [last], [made]))
            else:
                for kind in ("weight", "bias"):
                    value = getattr(layer, kind).detach().numpy()
                    weights.append(numpy_helper.from_array(value, f"{made}_{kind}"))
                pad = layer.padding[0]
                nodes.append(helper.make_node("Conv", [last, f"{made}_weight", f"{made}_bias"], [made], pads=[pad] * 4))
            last = made
        nodes.append(helper.make_node("Identity", [last], [f"eyes_{stride}"]))
        outputs.append(helper.make_tensor_value_info(f"eyes_{stride}", TensorProto.FLOAT, [1, 5, grid, grid]))
    graph = helper.make_graph(nodes, "upper_face", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, notes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("backgrounds", type=Path)
    parser.add_argument("--out", type=Path, default=Path("upper_face.onnx"))
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    parts = split(options.faces, options.backgrounds, options.out.parent)
    heads = learn(SceneMaker(*parts["train"], seed=1), options.scenes, options.epochs)
    save(heads, options.out, {"made_by": "python -m benchmarks.upper_face_training", "scenes": str(options.scenes)})
    print(options.out)


if __name__ == "__main__":
    main()
