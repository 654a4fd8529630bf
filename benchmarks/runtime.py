"""An architecture in every library that runs it: images per second, and how alike its files' embeddings are.

No weights are needed. A new model would flatter the libraries: its normalisations all scale by the same number, which
they fold away. So scales, shifts and slopes are drawn, and the running statistics are those of real faces.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.figures import Cell
from oaml_core.config import Config, DataConfig, ModelConfig
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.export.calibration import calibration_faces
from oaml_core.export.onnx_export import export_onnx
from oaml_core.export.onnx_graph import normalised
from oaml_core.export.variants import write_variant
from oaml_core.inference.backends import OpenVino, has_openvino, usable
from oaml_core.inference.model_files import VARIANTS, variant_path
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.models.recogniser import build_recogniser
from oaml_core.store import open_store

COLUMNS = ["file", "by", "images/s", "× eager", "1 − cos, clean", "1 − cos, covered", "taken by `auto`"]
CALIBRATING = 32
"""Faces that 8-bit ranges and running statistics come from, every second one covered."""
COMPARED = 32
"""Other faces that embeddings are compared on, every second one covered."""

Images = NDArray[np.uint8]


def settle(model: nn.Module, images: Images) -> None:
    """Draw a model's scales, shifts and slopes, and take its running statistics from faces uint8 [n, H, W, 3]."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
                layer.weight.uniform_(0.6, 1.2)
                layer.bias.normal_(0, 0.1)
            elif isinstance(layer, nn.PReLU):
                layer.weight.uniform_(0, 0.5)
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(normalised(torch.from_numpy(images)))
    model.eval()
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum


def some_faces(config: Config, folder: Path) -> tuple[Images, Images]:
    """Return faces to calibrate with and others to compare on, uint8 [n, H, W, 3]; every second one is covered."""
    dataset = fetch_prepared(prepare_dataset(config, open_store(config.store)).uri, folder / "dataset")
    faces = calibration_faces(dataset.train, config)
    return faces[:CALIBRATING], faces[CALIBRATING : CALIBRATING + COMPARED]


def opened(path: Path, calibration: Images, threads: int) -> dict[tuple[str, str], tuple[OamlOnnx, bool]]:
    """Return the model and its variants in onnxruntime and OpenVINO, by file and library, and whether `auto` takes it.

    OpenVINO runs each in the first precision that the processor has, also where `auto` finds it too different.
    """
    found = {}
    for variant in (None, *VARIANTS):
        file = path if variant is None else variant_path(path, variant)
        if variant is not None:
            write_variant(path, file, variant, calibration, preprocessing=True)
        taken = OamlOnnx(file, threads=threads, backend="auto").runtime.name
        models = [OamlOnnx(file, threads=threads)]
        if has_openvino():
            models.append(OamlOnnx(file, threads=threads))
            models[1].runtime = OpenVino(file, usable(("bf16", "f32"))[0], threads)
        for model in models:
            found[variant or "fp32", model.runtime.name] = model, model.runtime.name == taken
    return found


def runtime(
    arch: str, source: str, batch: int, threads: int, rounds: int, *, compiled: bool, folder: Path
) -> list[list[Cell]]:
    """Return a row per file and library, and for torch.

    Args:
        arch: name of the backbone.
        source: of real faces.
        batch: images in a pass.
        threads: of each library; of one alone the processor's time is measured.
        rounds: that the medians are of; in each round every way has its turn.
        compiled: whether torch.compile is measured too.
        folder: for files.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = Config(
        store=str(folder / "store"),
        work_dir=str(folder),
        model=ModelConfig(arch=arch),  # type: ignore[arg-type]
        data=DataConfig(source=source, num_workers=0),
    )
    calibration, others = some_faces(config, folder)
    model = build_recogniser(config.model)
    settle(model, calibration)
    images = np.resize(others, (batch, *others.shape[1:]))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def forward(module: Callable[[torch.Tensor], object]) -> object:
        with torch.inference_mode():
            return module(tensor)

    path = folder / "model.onnx"
    export_onnx(model, path, config, calibration[:4])
    exported = opened(path, calibration, threads)
    ways: dict[tuple[str, str], Callable[[], object]] = {
        name: partial(one.embed, images) for name, (one, _) in exported.items()
    }
    ways["–", "torch eager"] = lambda: forward(model)
    if compiled:
        fast = torch.compile(model)
        ways["–", "torch.compile"] = lambda: forward(fast)
    seconds = medians(ways, rounds, time.process_time if threads == 1 else time.perf_counter)
    reference = exported["fp32", "onnxruntime"][0].embed(others).embedding
    rows: list[list[Cell]] = []
    for (file, by), taken in seconds.items():
        likeness: list[Cell] = [None, None, None]
        if (file, by) in exported:
            recogniser, taken_by_auto = exported[file, by]
            unlike = 1 - (recogniser.embed(others).embedding * reference).sum(1)
            means = [max(0.0, round(float(unlike[start::2].mean()), 4)) for start in (0, 1)]
            likeness = [*means, "yes" if taken_by_auto else "no"]
        rows.append([file, by, batch / taken, seconds["–", "torch eager"] / taken, *likeness])
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def medians(
    ways: dict[tuple[str, str], Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[tuple[str, str], float]:
    """Return the median seconds of each way, taken in turns, after a round that is not counted."""
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if number:
                taken[name].append(clock() - start)
    return {name: statistics.median(found) for name, found in taken.items()}


def in_own_folder(arch: str, source: str, batch: int, threads: int, rounds: int, *, compiled: bool) -> list[list[Cell]]:
    """Return what `runtime` does, with files that do not stay."""
    with tempfile.TemporaryDirectory() as name:
        return runtime(arch, source, batch, threads, rounds, compiled=compiled, folder=Path(name))
