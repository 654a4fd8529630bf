"""Reading face data, beside what would be used instead.

    python -m benchmarks.loading read --source lfw112        # decoded images/s, also Pillow, torchvision
    python -m benchmarks.loading open --records 5800000                     # a file of so many records: index, memory
    python -m benchmarks.loading memfile --images 14000                     # peak memory, also of unpickling the set
    python -m benchmarks.loading duplicates --source lfw112  # 5.8 million × 14,000 images
    python -m benchmarks.loading prepare --source lfw112     # checked and packed images/s

Memory is measured in a process of its own. `read` counts processor time, in rounds over all ways of reading, so that
other work on the machine does little harm; the rest is time on the wall.
"""

from __future__ import annotations

import argparse
import io
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image

from benchmarks.figures import Sheet
from benchmarks.loading_index import MIB, open_many
from benchmarks.told import run
from oaml_core.config import Config, DataConfig
from oaml_core.data.check.duplicates import BrightnessSteps, near
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.data.prepared.verification import write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import find_verification, open_verification_source
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.store import open_store


def best_rates(images: int, ways: dict[str, Callable[[int], object]], rounds: int = 5) -> dict[str, float]:
    """Images a second of processor time, the best of `rounds` in which every way reads every image once."""
    order = np.random.default_rng(0).permutation(images).tolist()
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for i in order:
                way(i)
            seconds[name] = min(seconds[name], time.process_time() - start)
    return {name: images / best for name, best in seconds.items()}


def read(sheet: Sheet, source: str, images: int) -> None:
    """Images/s of reading and decoding to a uint8 tensor [3, H, W], the same JPEG files for all."""
    from torchvision.datasets import ImageFolder
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2 import PILToTensor

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train = _prepared(source, Path(folder)).train
        count = min(images, len(train))
        paths, held = [], []
        for i in range(count):
            path = Path(folder) / "files" / f"{int(train.labels[i]):05d}" / f"{i:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            held.append(train.encoded(i))
            path.write_bytes(held[i])
            paths.append(str(path))
        image_folder = ImageFolder(str(Path(folder) / "files"), PILToTensor())

        def pillow(path: str) -> torch.Tensor:
            with Image.open(path) as image:
                return torch.from_numpy(np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy())

        ways = {
            "FaceDataset, prepared RecordIO": lambda i: train[i],
            "Pillow, JPEG files": lambda i: pillow(paths[i]),
            "torchvision ImageFolder, JPEG files": lambda i: image_folder[i],
            "torchvision decode_jpeg, JPEG files": lambda i: decode_jpeg(read_file(paths[i]), ImageReadMode.RGB),
            "simplejpeg alone, bytes in memory": lambda i: simplejpeg.decode_jpeg(held[i], "RGB", strict=True),
        }
        rates = best_rates(count, ways)
        for name, rate in rates.items():
            sheet.say(f"{name}: {count:,} images in random order, one core", f"{rate:,.0f} images/s")
        ours, pillow_rate = (rates[name] for name in list(rates)[:2])
        sheet.say("FaceDataset against Pillow", f"{ours / pillow_rate:.2f} ×")
        sheet.say(
            "simplejpeg alone against Pillow: what decoding bounds", f"{list(rates.values())[-1] / pillow_rate:.2f} ×"
        )


def memfile(sheet: Sheet, images: int) -> None:
    """Peak memory of turning a `.bin` into a memfile, in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        jpegs = [
            encode_jpeg(
                np.random.default_rng(i).integers(0, 255, (14, 14, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            )
            for i in range(500)
        ]
        path = Path(folder) / "set.bin"
        path.write_bytes(pickle.dumps(([jpegs[i % 500] for i in range(images)], [True] * (images // 2)), protocol=4))
        unshared = pickle.dumps(
            ([bytes(bytearray(jpegs[i % 500])) for i in range(images)], [True] * (images // 2)), protocol=4
        )
        path.write_bytes(unshared)
        sheet.say(f"verification set of {images:,} images", f"{path.stat().st_size / MIB:,.0f} MiB")
        for way in ("nothing", "stream", "unpickle"):
            command = [sys.executable, "-m", "benchmarks.loading", "memfile-child", "--way", way, "--folder", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            sheet.say(
                {
                    "nothing": "imports alone",
                    "stream": "write_verification",
                    "unpickle": "pickle.load, Pillow, np.save",
                }[way],
                done.stdout.strip(),
            )


def memfile_child(way: str, folder: Path) -> None:
    start = time.perf_counter()
    if way == "stream":
        source = LocalFolder(folder)
        ((name, file),) = find_verification(source).items()
        write_verification(open_verification_source(source, name, file), folder / "out", image_size=112)
    elif way == "unpickle":
        with (folder / "set.bin").open("rb") as opened:
            encoded, _ = pickle.load(opened)
        np.save(folder / "all.npy", np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in encoded]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:,.0f} MiB, {time.perf_counter() - start:.1f} s")


def duplicates(sheet: Sheet, source: str, training: int, verification: int) -> None:
    """Perceptual hashes of `training` × `verification` images: those of real faces, with random bits flipped."""
    with tempfile.TemporaryDirectory() as folder:
        train = _prepared(source, Path(folder)).train
        steps = BrightnessSteps(112)
        seen = np.stack([steps(train.read(i).permute(1, 2, 0).numpy()) for i in range(len(train))])
    bits = seen > np.median(seen, axis=0)
    generator = np.random.default_rng(0)

    def drawn(count: int) -> np.ndarray:
        """Hashes with the statistics of real faces: each bit of a real hash is another real face's with 30 %."""
        made = []
        for start in range(0, count, 200_000):
            size = min(200_000, count - start)
            one, other = (bits[generator.integers(0, len(bits), size)] for _ in range(2))
            made.append(
                np.packbits(np.where(generator.random((size, 128), dtype=np.float32) < 0.3, other, one), axis=1)
            )
        return np.concatenate(made)

    shown, hashes = drawn(verification), drawn(training)
    planted = generator.choice(training, 100, replace=False)
    hashes[planted] = shown[:100]
    start = time.perf_counter()
    found = near(hashes, shown)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sheet.say(f"{training:,} × {verification:,} hashes compared", f"{seconds:.0f} s, peak {peak:,.0f} MiB")
    sheet.say("of 100 planted copies found", f"{len({row for row, _, _ in found} & set(planted.tolist()))}")


def prepare(sheet: Sheet, source: str) -> None:
    """Checked, hashed, packed and stored images/s, on all cores; then the second run."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(work_dir=f"{folder}/work", store=f"{folder}/store", data=DataConfig(source=source))
        start = time.perf_counter()
        made = prepare_dataset(config, open_store(config.store))
        seconds = time.perf_counter() - start
        images = made.manifest.images + 2 * sum(made.manifest.verification.values())
        sheet.say(f"prepare: {images:,} images", f"{seconds:.1f} s, {images / seconds:,.0f} images/s")
        start = time.perf_counter()
        prepare_dataset(config, open_store(config.store))
        sheet.say("prepare again, nothing changed", f"{time.perf_counter() - start:.3f} s")


def _prepared(source: str, folder: Path) -> PreparedDataset:
    config = Config(work_dir=str(folder / "work"), store=str(folder / "store"), data=DataConfig(source=source))
    return fetch_prepared(prepare_dataset(config, open_store(config.store)).uri, folder / "dataset")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["read", "open", "memfile", "memfile-child", "duplicates", "prepare"])
    parser.add_argument("--source", default="lfw112")
    parser.add_argument("--records", type=int, default=5_800_000)
    parser.add_argument("--images", type=int, default=14_000)
    parser.add_argument("--way", default="stream")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    sheet = Sheet()
    match arguments.what:
        case "read":
            read(sheet, arguments.source, arguments.images)
        case "open":
            open_many(sheet, arguments.records)
        case "memfile":
            memfile(sheet, arguments.images)
        case "memfile-child":
            memfile_child(arguments.way, arguments.folder)
        case "duplicates":
            duplicates(sheet, arguments.source, arguments.records, arguments.images)
        case "prepare":
            prepare(sheet, arguments.source)
    sheet.save("benchmarks.loading", sys.argv[1:], ["numpy", "simplejpeg", "pillow", "torchvision"], arguments.out)


if __name__ == "__main__":
    run(main)
