"""From prepared files to training batches, beside what would be used instead; drawn faces; plans of batches.

    python benchmarks/augmenting.py pipeline --source ../shared/data/lfw112  # batches with masks; torchvision's
    python benchmarks/augmenting.py faces                                    # drawn faces/s
    python benchmarks/augmenting.py plan --images 5800000                    # building samplers, planning an epoch

All figures are of one core: processor time, the best of several rounds, so that other work on the machine does little
harm.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from oaml_core.config import AugmentConfig, Config, DataConfig
from oaml_core.data.datamodule import TrainingFaces, collate
from oaml_core.data.dataset import FaceDataset
from oaml_core.data.graph_sampler import GraphBatchSampler, feature_distances
from oaml_core.data.prepare import prepare_dataset
from oaml_core.data.prepared import fetch_prepared
from oaml_core.data.samplers import build_batch_sampler
from oaml_core.data.synthetic_faces import draw_faces, draw_identities
from oaml_core.data.transforms import TrainTransform
from oaml_core.store import open_store

BATCH = 256
ADAFACE = 0.2
"""Probability of each of its three quality augmentations in AdaFace's published recipes."""


def say(what: str, figure: str) -> None:
    print(f"{what:<72} {figure}", flush=True)


def seconds_of(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def consume(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def pipeline(source: str, rounds: int) -> None:
    """Images/s from the disk to stacked batches, every way over the same files in rounds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(work_dir=f"{folder}/work", store=f"{folder}/store", data=DataConfig(source=source))
        uri = prepare_dataset(config, open_store(config.store)).uri
        faces = fetch_prepared(uri, Path(folder) / "dataset").train
        files = _as_files(faces, Path(folder) / "files")
        quality = {
            "crop_augmentation_prob": ADAFACE,
            "photometric_augmentation_prob": ADAFACE,
            "low_res_augmentation_prob": ADAFACE,
        }
        ways: dict[str, DataLoader[Any]] = {
            "ours: decode, flip": _ours(faces, AugmentConfig(mask_prob=0)),
            "ours: decode, flip, occluder on half of the faces": _ours(faces, AugmentConfig()),
            "ours: decode, flip, occluder on every face": _ours(faces, AugmentConfig(mask_prob=1)),
            "ours: the half, and AdaFace's augmentation": _ours(faces, AugmentConfig(**quality)),  # type: ignore[arg-type]
            "ImageFolder, v2: decode, flip": _torchvision(files, erasing=False, quality=False),
            "ImageFolder, v2: decode, flip, RandomErasing on half": _torchvision(files, erasing=True, quality=False),
            "ImageFolder, v2: the half, crop and ColorJitter, 0.2 each": _torchvision(
                files, erasing=True, quality=True
            ),
        }
        best = dict.fromkeys(ways, float("inf"))
        images = len(faces) // BATCH * BATCH
        for _ in range(rounds):
            for name, loader in ways.items():
                best[name] = min(best[name], seconds_of(lambda loader=loader: consume(loader)))  # type: ignore[misc]
        for name, seconds in best.items():
            say(name, f"{images / seconds:,.0f} images/s")


def _as_files(faces: FaceDataset, folder: Path) -> Path:
    """The same JPEG files, one folder an identity."""
    for index, label in enumerate(faces.labels):
        path = folder / f"{int(label):05d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(faces.encoded(index))
    return folder


def _ours(faces: FaceDataset, augment: AugmentConfig) -> DataLoader[Any]:
    config = DataConfig(batch_size=BATCH, sampler="shuffle")
    sampler = build_batch_sampler(config, faces.labels, seed=0)
    return DataLoader(TrainingFaces(faces, TrainTransform(augment)), batch_sampler=sampler, collate_fn=collate)


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


def faces(rounds: int) -> None:
    """Drawn faces/s, without and with the encoding that `prepare` does."""
    from oaml_core.data.decode import encode_jpeg

    generator = np.random.default_rng(0)
    people = draw_identities(64, generator)
    which = np.arange(512) % 64
    drawn = draw_faces(people, which, generator)
    best = min(seconds_of(lambda: draw_faces(people, which, generator)) for _ in range(rounds))
    encoding = min(seconds_of(lambda: [encode_jpeg(image) for image in drawn.images]) for _ in range(rounds))
    say("faces drawn", f"{len(which) / best:,.0f} faces/s")
    say("faces drawn and encoded as JPEG", f"{len(which) / (best + encoding):,.0f} faces/s")


def plan(images: int, identities: int) -> None:
    """Building each sampler over so many labels, and planning its first epoch."""
    generator = np.random.default_rng(0)
    labels = np.sort(np.concatenate([np.arange(identities), generator.integers(0, identities, images - identities)]))
    for kind in ("pk", "random_identity", "shuffle"):
        config = DataConfig(batch_size=512, sampler=kind)  # type: ignore[arg-type]
        start = time.process_time()
        sampler = build_batch_sampler(config, labels, seed=0)
        built = time.process_time() - start
        planned = seconds_of(lambda sampler=sampler: sampler.global_batch(0))  # type: ignore[misc]
        say(f"{kind}: {images:,} labels of {identities:,} identities", f"built {built:.2f} s, planned {planned:.2f} s")
    few = min(identities, 10_000)
    features = torch.nn.functional.normalize(torch.randn(few, 512, generator=torch.Generator().manual_seed(0)))
    distances = feature_distances(features)
    graph = GraphBatchSampler(labels[labels < few], 512, num_instances=4, distances=distances, seed=0)
    say(f"nearest classes of {few:,} identities and the plan", f"{seconds_of(lambda: graph.global_batch(0)):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pipeline", "faces", "plan"])
    parser.add_argument("--source", default="../shared/data/lfw112")
    parser.add_argument("--images", type=int, default=5_800_000)
    parser.add_argument("--identities", type=int, default=85_742)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    match arguments.what:
        case "pipeline":
            pipeline(arguments.source, arguments.rounds)
        case "faces":
            faces(arguments.rounds)
        case "plan":
            plan(arguments.images, arguments.identities)


if __name__ == "__main__":
    main()
