"""An exported model, its variants and the libraries that run them: speed, likeness and TAR beside one another.

    python -m benchmarks.exported --weights mobilefacenet_y1.onnx --source lfw112

Calibration faces come from `train.rec`, TAR from people of `lfw_val.bin`, of whom none is in the first. Speed is
processor time of one thread, batches of 16, the median of rounds that every file takes part in. `int8, plain` is what
`onnxruntime.quantization.quantize_static` makes of the same faces by itself (8-bit weights per channel, smallest and
largest value as range).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.figures import Cell, command, measured, write
from benchmarks.told import run
from oaml_core.config import Config, DataConfig, ExportConfig, ModelConfig
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.errors import ExportError
from oaml_core.export.accuracy import RecordFaces, record_faces, tar_of
from oaml_core.export.calibration import calibration_faces
from oaml_core.export.onnx_export import export_onnx
from oaml_core.export.variants import write_variant
from oaml_core.inference.backends import BACKENDS, has_openvino
from oaml_core.inference.model_files import VARIANTS, variant_path
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.models.recogniser import build_recogniser
from oaml_core.store import open_store

BATCH = 16
COLUMNS = [
    "file",
    "library",
    "MB",
    "images/s",
    "1 − cos, clean",
    "1 − cos, covered",
    "TAR at 1e-3 in %, clean",
    "at 1e-4",
    "covered, 1e-3",
    "at 1e-4",
]


def plain_eight_bits(source: Path, path: Path, faces: NDArray[np.uint8]) -> None:
    """Write what onnxruntime's static quantisation makes of a model by itself."""
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

    class Reader:
        def __init__(self) -> None:
            self.rest = [{"images": faces[at : at + BATCH]} for at in range(0, len(faces), BATCH)]

        def get_next(self) -> dict[str, Any] | None:
            return self.rest.pop() if self.rest else None

    prepared = path.with_suffix(".prepared")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def written(folder: Path, config: Config, dataset: PreparedDataset) -> dict[str, Path]:
    """Return the model and its variants by the name that the table gives them."""
    torch.manual_seed(0)
    model = build_recogniser(config.model).eval()
    faces = calibration_faces(dataset.train, config)
    path = folder / "model.onnx"
    export_onnx(model, path, config, faces[:8])
    files = {"fp32": path}
    for variant in VARIANTS:
        files[variant] = variant_path(path, variant)
        write_variant(path, files[variant], variant, faces, preprocessing=True)
    files["int8, plain"] = folder / "plain.onnx"
    plain_eight_bits(path, files["int8, plain"], faces)
    return files


def opened(files: dict[str, Path]) -> dict[str, OamlOnnx]:
    """Return every file in every library that runs it, by `file|library`."""
    found = {}
    for name, path in files.items():
        for backend in BACKENDS[1:] if has_openvino() else BACKENDS[1:2]:
            try:
                model = OamlOnnx(path, threads=1, backend=backend)
            except ExportError as error:
                print(f"{name} by {backend}: {error}")
                continue
            found[f"{name}|{model.runtime.name}"] = model
    return found


def rates(models: dict[str, OamlOnnx], images: NDArray[np.uint8], rounds: int) -> dict[str, float]:
    """Return images per second of processor time: the median of rounds over all models."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            start = time.process_time()
            model.embed(images[:BATCH])
            seconds[name].append(time.process_time() - start)
    return {name: BATCH / statistics.median(found[1:]) for name, found in seconds.items()}


def rows(files: dict[str, Path], faces: RecordFaces, rounds: int) -> list[list[Cell]]:
    """Return the table's rows."""
    models = opened(files)
    speed = rates(models, faces.clean, rounds)
    some = slice(0, 64)
    reference = [models["fp32|onnxruntime"].embed(images[some]).embedding for images in (faces.clean, faces.covered)]
    found: list[list[Cell]] = []
    for name, model in models.items():
        file, library = name.split("|")
        unlike: list[Cell] = [
            round(float(1 - (model.embed(images[some]).embedding * known).sum(1).mean()), 4)
            for images, known in zip((faces.clean, faces.covered), reference, strict=True)
        ]
        tar: list[Cell] = [
            None if rate is None else 100 * rate for points in tar_of(model, faces).values() for rate in points.values()
        ]
        size = files[file].stat().st_size / 1e6
        found.append([file, library, size, speed[name], *unlike, *tar])
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="lfw112")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--arch", default="mobilefacenet")
    parser.add_argument("--images", type=int, default=200, help="verification faces that TAR is measured on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = Config(
            store=str(folder / "store"),
            work_dir=str(folder),
            model=ModelConfig(arch=options.arch, weights=options.weights),
            data=DataConfig(source=options.source, num_workers=0),
            export=ExportConfig(record_images=options.images),
        )
        dataset = fetch_prepared(prepare_dataset(config, open_store(config.store)).uri, folder / "dataset")
        faces = record_faces(next(iter(dataset.verification.values())), config)
        print(f"{len(faces.clean)} images of {len(np.unique(faces.people))} people")
        found = rows(written(folder, config, dataset), faces, options.rounds)
    if options.out is not None:
        asked = command("benchmarks.exported", sys.argv[1:])
        write(measured(asked, COLUMNS, found, ["onnxruntime", "openvino"]), options.out)


if __name__ == "__main__":
    run(main)
