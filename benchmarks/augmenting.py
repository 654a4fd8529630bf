"""From prepared files to training batches, beside what would be used instead; drawn faces; plans of batches.

    python -m benchmarks.augmenting pipeline --source lfw112  # batches; Pillow's, torchvision's
    python -m benchmarks.augmenting faces                                    # drawn faces/s
    python -m benchmarks.augmenting plan --labels 5800000                    # building samplers, planning an epoch

All figures are of one core: processor time, the best of several rounds, so that other work on the machine does little
harm.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch.utils.data import DataLoader, Dataset

from benchmarks.figures import Sheet
from benchmarks.told import run
from oaml_core.config import AugmentConfig, Config, DataConfig
from oaml_core.data.batches.graph_sampler import feature_distances, nearest_classes
from oaml_core.data.batches.samplers import build_batch_sampler
from oaml_core.data.batches.training_faces import TrainingFaces, collate
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.store import open_store

BATCH = 256
ADAFACE = 0.2
"""Probability of each of its three quality augmentations in AdaFace's published recipes."""
ANCHORS_TRIED = 132
"""Classes whose neighbours `plan` looks for: four blocks of two million classes."""


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def consume(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def pipeline(sheet: Sheet, source: str, images: int, rounds: int) -> None:
    """Images/s from the disk to stacked batches, every way over the same files in rounds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(work_dir=f"{folder}/work", store=f"{folder}/store", data=DataConfig(source=source))
        uri = prepare_dataset(config, open_store(config.store)).uri
        faces = fetch_prepared(uri, Path(folder) / "dataset").train
        images = min(images, len(faces)) // BATCH * BATCH
        files = _as_files(faces, images, Path(folder) / "files")
        quality = {f"{name}_augmentation_prob": ADAFACE for name in ("crop", "photometric", "low_res")}
        ways: dict[str, Iterable[Any]] = {
            "ours: decode, flip": _ours(faces, images, AugmentConfig(mask_prob=0)),
            "ours: decode, flip, occluder on half of the faces, its map": _ours(faces, images, AugmentConfig()),
            "ours: the same and AdaFace's augmentation": _ours(faces, images, AugmentConfig(**quality)),  # type: ignore[arg-type]
            "Pillow: decode, flip": _pillow(files, masks=False, quality=False),
            "Pillow: decode, flip, mask pasted on half of the faces, its map": _pillow(
                files, masks=True, quality=False
            ),
            "Pillow: the same and AdaFace's augmentation": _pillow(files, masks=True, quality=True),
            "ImageFolder, v2: decode, flip": _torchvision(files, erasing=False, quality=False),
            "ImageFolder, v2: decode, flip, RandomErasing on half, no map": _torchvision(
                files, erasing=True, quality=False
            ),
            "ImageFolder, v2: the same, crop and ColorJitter": _torchvision(files, erasing=True, quality=True),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(rounds):
            for name, loader in ways.items():
                best[name] = min(best[name], seconds_of(lambda loader=loader: consume(loader)))  # type: ignore[misc]
        for name, seconds in best.items():
            sheet.say(name, f"{images / seconds:,.0f} images/s")


def _as_files(faces: FaceDataset, images: int, folder: Path) -> Path:
    """Write JPEG files, one folder per identity."""
    for index in range(images):
        path = folder / f"{int(faces.labels[index]):05d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(faces.encoded(index))
    return folder


def _ours(faces: FaceDataset, images: int, augment: AugmentConfig) -> DataLoader[Any]:
    sampler = build_batch_sampler(DataConfig(batch_size=BATCH, sampler="shuffle"), faces.labels[:images], seed=0)
    return DataLoader(TrainingFaces(faces, augment), batch_sampler=sampler, collate_fn=collate)


class PillowFaces(Dataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """What a data set written with Pillow and torchvision's first transforms does, with a mask pasted by its alpha."""

    def __init__(self, folder: Path, *, masks: bool, quality: bool) -> None:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import ColorJitter, RandomResizedCrop

        self.files = ImageFolder(str(folder)).samples
        self.masks, self.quality = masks, quality
        self.random = random.Random(0)
        self.artwork = Image.new("RGBA", (240, 160))
        ImageDraw.Draw(self.artwork).rounded_rectangle((4, 4, 236, 156), 40, (150, 190, 215, 255))
        self.crop, self.jitter = RandomResizedCrop(112, (0.2, 1.0)), ColorJitter(0.5, 0.5, 0.5)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        path, label = self.files[index]
        with Image.open(path) as file:
            image = file.convert("RGB")
        visible = Image.new("L", image.size, 255)
        if self.random.random() < 0.5:
            image = ImageOps.mirror(image)
        if self.masks and self.random.random() < 0.5:
            self._paste(image, visible)
        if self.quality:
            image = self._degraded(image)
        coverage = np.asarray(visible.resize((7, 7), Image.Resampling.BOX), dtype=np.float32) / 255
        pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
        return pixels, torch.from_numpy(coverage)[None], label

    def _paste(self, image: Image.Image, visible: Image.Image) -> None:
        scale, turn = self.random.uniform(0.95, 1.10), self.random.uniform(-7, 7)
        size = round(117 * scale), round(82 * scale)
        laid = self.artwork.resize(size, Image.Resampling.BILINEAR).rotate(turn, Image.Resampling.BILINEAR, expand=True)
        place = (round(56 - laid.width / 2 + self.random.uniform(-5, 5)), round(67 - laid.height / 2))
        image.paste(laid, place, laid)
        visible.paste(0, place, laid.getchannel("A"))

    def _degraded(self, image: Image.Image) -> Image.Image:
        if self.random.random() < ADAFACE:
            image = self.crop(image)
        if self.random.random() < ADAFACE:
            image = self.jitter(image)
        if self.random.random() < ADAFACE:
            side = round(112 * self.random.uniform(0.2, 1.0))
            image = image.resize((side, side), Image.Resampling.BILINEAR).resize((112, 112), Image.Resampling.BICUBIC)
        return image

    def __len__(self) -> int:
        return len(self.files)


def _pillow(folder: Path, *, masks: bool, quality: bool) -> DataLoader[Any]:
    return DataLoader(PillowFaces(folder, masks=masks, quality=quality), BATCH, shuffle=True, drop_last=True)


def _torchvision(folder: Path, *, erasing: bool, quality: bool) -> DataLoader[Any]:
    """Images without visibility maps: torchvision's transforms draw none."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps: list[Any] = [v2.PILToTensor(), v2.RandomHorizontalFlip()]
    if quality:
        steps.append(v2.RandomApply([v2.RandomResizedCrop(112, scale=(0.2, 1.0))], ADAFACE))
        steps.append(v2.RandomApply([v2.ColorJitter(0.5, 0.5, 0.5)], ADAFACE))
    if erasing:
        steps.append(v2.RandomErasing(0.5, scale=(0.1, 0.4), ratio=(0.7, 1.4)))
    return DataLoader(ImageFolder(str(folder), v2.Compose(steps)), BATCH, shuffle=True, drop_last=True)


def faces(sheet: Sheet, rounds: int) -> None:
    """Drawn faces/s, without and with the encoding that `prepare` does."""
    from oaml_core.decoding.decode import encode_jpeg

    generator = np.random.default_rng(0)
    people = draw_identities(64, generator)
    which = np.arange(512) % 64
    drawn = draw_faces(people, which, generator)
    best = min(seconds_of(lambda: draw_faces(people, which, generator)) for _ in range(rounds))
    encoding = min(seconds_of(lambda: [encode_jpeg(image) for image in drawn.images]) for _ in range(rounds))
    sheet.say("faces drawn", f"{len(which) / best:,.0f} faces/s")
    sheet.say("faces drawn and encoded as JPEG", f"{len(which) / (best + encoding):,.0f} faces/s")


def plan(sheet: Sheet, images: int, identities: int) -> None:
    """Building each sampler over so many labels, and planning its first epoch."""
    generator = np.random.default_rng(0)
    labels = np.sort(np.concatenate([np.arange(identities), generator.integers(0, identities, images - identities)]))
    for kind in ("pk", "random_identity", "shuffle"):
        config = DataConfig(batch_size=512, sampler=kind)  # type: ignore[arg-type]
        start = time.process_time()
        sampler = build_batch_sampler(config, labels, seed=0)
        built = time.process_time() - start
        planned = seconds_of(lambda sampler=sampler: sampler.global_batch(0))  # type: ignore[misc]
        sheet.say(
            f"{kind}: {images:,} labels of {identities:,} identities", f"built {built:.2f} s, planned {planned:.2f} s"
        )
    features = torch.nn.functional.normalize(
        torch.randn(identities, 512, generator=torch.Generator().manual_seed(0)), dim=1
    )
    some, anchors = generator.integers(0, identities, ANCHORS_TRIED), images // 512
    seconds = seconds_of(lambda: nearest_classes(feature_distances(features), some, 127, identities))
    sheet.say(
        f"graph: 127 nearest of {ANCHORS_TRIED} anchors among {identities:,} classes",
        f"{seconds:.2f} s; an epoch's {anchors:,}: {seconds * anchors / ANCHORS_TRIED / 3600:.2f} h, extrapolated",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pipeline", "faces", "plan"])
    parser.add_argument("--source", default="lfw112")
    parser.add_argument("--images", type=int, default=4_096, help="of `pipeline`")
    parser.add_argument("--labels", type=int, default=5_800_000, help="of `plan`")
    parser.add_argument("--identities", type=int, default=85_742)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sheet = Sheet()
    match arguments.what:
        case "pipeline":
            pipeline(sheet, arguments.source, arguments.images, arguments.rounds)
        case "faces":
            faces(sheet, arguments.rounds)
        case "plan":
            plan(sheet, arguments.labels, arguments.identities)
    sheet.save("benchmarks.augmenting", sys.argv[1:], ["numpy", "pillow", "torch", "torchvision"], arguments.out)


if __name__ == "__main__":
    run(main)
