"""What the frozen layers of a backbone give of covered faces, computed once and kept: for `benchmarks/occlusion.py`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from oaml_core.config import Config
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.evaluation.scoring.conditions import draw_test_occluder
from oaml_core.evaluation.scoring.scores import read_images
from oaml_core.models.recogniser import Recogniser

BATCH = 16
DRAWINGS = 5
"""Occluded versions of each training face, beside the clean one."""


class StepInputs(NamedTuple):
    """What every step needs."""

    config: Config
    folder: Path
    dataset: PreparedDataset
    model: Recogniser


def described(model: Recogniser, images: Tensor) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """What the local layers are given, and raw embeddings, of uint8 [n, 3, H, W]; in bfloat16, twice as fast."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        scaled = images.contiguous(memory_format=torch.channels_last).float() / 127.5 - 1
        found = model.backbone(scaled)
    assert found.earlier is not None
    return found.earlier.half().numpy(), (found.embedding * found.norm).float().numpy()


def small(mask: Tensor) -> Tensor:
    """Visibility [1, 7, 7] of a mask [1, H, W]."""
    return functional.adaptive_avg_pool2d(mask, (7, 7))


def training_features(work: StepInputs, part: int, parts: int) -> None:
    """`train-<part>.npz`: of each face the clean version and `DRAWINGS` covered ones, half of all mirrored."""
    faces, kinds = work.dataset.train, work.config.augment.occluders
    mine = np.array_split(np.random.default_rng(0).permutation(len(faces)), parts)[part]
    columns: list[list[NDArray[np.generic]]] = [[], [], []]
    for start in range(0, len(mine), BATCH // (1 + DRAWINGS)):
        images, masks = [], []
        for face in map(int, mine[start : start + BATCH // (1 + DRAWINGS)]):
            generator = torch.Generator().manual_seed(face)
            landmarks = None if faces.landmarks is None else np.asarray(faces.landmarks[face])
            image = faces.read(face)
            for number in range(1 + DRAWINGS):
                drawn, mask = image, torch.ones(1, *image.shape[1:])
                if number:
                    kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
                    drawn, mask = draw_occluder(image, landmarks, kind, generator)
                if torch.rand((), generator=generator) < 0.5:
                    drawn, mask = drawn.flip(2), mask.flip(2)
                images.append(drawn)
                masks.append(small(mask))
        earlier, raw = described(work.model, torch.stack(images))
        for column, values in zip(columns, (earlier, raw, torch.stack(masks).numpy()), strict=True):
            column.append(values.reshape(-1, 1 + DRAWINGS, *values.shape[1:]))
        if start % 400 == 0:
            print(f"{start} of {len(mine)} faces, {time.process_time():.0f} s of processor time", flush=True)
    earlier_all, raw_all, visible = map(np.concatenate, columns)
    labels = np.asarray(faces.labels)[mine]
    np.savez(work.folder / f"train-{part}.npz", earlier=earlier_all, raw=raw_all, visible=visible, labels=labels)


class Everybody(NamedTuple):
    """The different images of a verification set."""

    rows: NDArray[np.int64]
    """[n], where each stands in the set."""
    people: NDArray[np.int64]
    """[n]"""
    pairs: NDArray[np.int64]
    """[N, 2], the set's pairs as numbers of different images."""


def everybody(pairs: VerificationSet, source: str) -> Everybody:
    """From the names in `<set>_meta.json`: a set's pairs alone do not link all pictures of a person."""
    content = json.loads((Path(source) / f"{pairs.name}_meta.json").read_text())
    names = [name for pair in content["pairs"] for name in pair]
    different, rows, numbers = np.unique(names, return_index=True, return_inverse=True)
    people = np.unique([name.partition("/")[0] for name in different], return_inverse=True)[1]
    return Everybody(rows, people, numbers.reshape(-1, 2))


def test_features(work: StepInputs, conditions: list[str]) -> None:
    """`test-<condition>.npz`: of each different image, covered, and of its mirror image."""
    (pairs,) = work.dataset.verification.values()
    chosen = everybody(pairs, str(work.config.data.source)).rows
    for condition in conditions:
        columns: list[list[NDArray[np.generic]]] = [[], [], [], []]
        for start in range(0, len(chosen), BATCH):
            rows = chosen[start : start + BATCH]
            images = list(read_images(pairs.images, rows))
            masks = [torch.ones(1, *images[0].shape[1:])] * len(images)
            if condition != "clean":
                points = [None if pairs.landmarks is None else torch.from_numpy(pairs.landmarks[row]) for row in rows]
                drawn = [
                    draw_test_occluder(image, point, condition, start + number)  # type: ignore[arg-type]
                    for number, (image, point) in enumerate(zip(images, points, strict=True))
                ]
                images, masks = [image for image, _ in drawn], [mask for _, mask in drawn]
            stacked, visible = torch.stack(images), torch.stack(list(map(small, masks))).numpy()
            mirrored = described(work.model, stacked.flip(3))[1]
            for column, values in zip(columns, (*described(work.model, stacked), mirrored, visible), strict=True):
                column.append(values)
        names = ("earlier", "raw", "mirrored_raw", "visible")
        np.savez(work.folder / f"test-{condition}.npz", **dict(zip(names, map(np.concatenate, columns), strict=True)))
        print(f"{condition}, {time.process_time():.0f} s of processor time", flush=True)
