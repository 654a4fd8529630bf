"""Training, beside the bare loop that a user would write instead.

    python -m benchmarks.training step --arch ir_18 --batch 16   # overhead over backbone and head, cost of each loss
    python -m benchmarks.training checkpoint --arch ir_50        # how long training waits for a checkpoint
    python -m benchmarks.training restart                        # from a killed worker to the first new step
    python -m benchmarks.training gpu --arch ir_50 ir_101        # images/s and share of the GPU's bf16 rate

`step` takes processor time on a CPU, in rounds over all ways, so that other work on the machine does little harm; the
rest is time on the wall. `gpu` wants a CUDA device.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.told import run
from oaml_core.config import Config, DataConfig, LossConfig, ModelConfig, TrainConfig
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.models.build import build_backbone, build_classifier
from oaml_core.training.compiling import compiles
from oaml_core.training.devices import build_fabric
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.module import RecognitionModule
from oaml_core.training.optimisation import build_optimiser
from oaml_core.training.resume import Position
from oaml_core.training.step import Stepper
from oaml_core.training.worker_entry import SERVER_VARIABLE
from oaml_core.training.world import World

ALONE = World(0, 1, 0, 1)
Step = Callable[[], object]


def say(what: str, figure: str) -> None:
    print(f"{what:<76} {figure}", flush=True)


def configuration(arch: str, batch: int, loss: LossConfig, train: TrainConfig) -> Config:
    model = ModelConfig(arch=arch, m=0.4, h=0.333)  # type: ignore[arg-type]
    return Config(data=DataConfig(batch_size=batch, num_instances=4), model=model, loss=loss, train=train)


def faces(batch: int, classes: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, 112, 112), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (batch // 4,), generator=generator).repeat_interleave(4)
    return TrainingBatch(images, torch.ones(batch, 1, 7, 7), labels, torch.arange(batch))


def our_step(config: Config, classes: int, batch: TrainingBatch) -> tuple[Step, Stepper]:
    """A step as the training loop takes it."""
    fabric = build_fabric(config.train, ALONE)
    torch.manual_seed(0)
    module = RecognitionModule(config, classes, ALONE)
    if config.train.channels_last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiles(config.train.compile, fabric.device):
        module.recogniser.compile_parts()
    model, optimiser = fabric.setup(module, build_optimiser(config, module))
    model.mark_forward_method("training_step")
    stepper = Stepper(config, fabric, module, model, optimiser, ALONE, batches_per_epoch=10**9)
    on_device = fabric.to_device(batch)
    return lambda: stepper.take(on_device, Position()), stepper


def bare_step(config: Config, classes: int, batch: TrainingBatch, device: str, *, fp16: bool = False) -> Step:
    """Backbone, AdaFace head, cross-entropy and SGD, and nothing else; `fp16` as AdaFace is published."""
    torch.manual_seed(0)
    backbone = build_backbone(config.model.arch).to(device)
    head = build_classifier(config.model, backbone.embedding_size, classes, seed=0).to(device)
    module = nn.ModuleList([backbone, head])
    optimiser = build_optimiser(config, module)
    scaler = torch.amp.GradScaler(device, enabled=fp16)
    images, labels = batch.images.to(device), batch.labels.to(device)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(device, torch.float16, enabled=fp16):
            found = backbone(images.float() / 127.5 - 1)
            loss = head.loss(found.embedding, found.norm, labels).loss.mean()
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()

    return step


def step(arch: str, size: int, classes: int, rounds: int) -> None:
    """Processor time of a step, in rounds over all ways."""
    torch.set_num_threads(1)
    batch = faces(size, classes)
    alone = LossConfig(adaface_loss_weight=1.0, qaconv_loss_weight=0.0, visibility_loss_weight=0.0)
    fp32 = TrainConfig(precision="fp32")
    losses = {
        "ours, AdaFace alone": alone,
        "ours, with the visibility loss": replace(alone, visibility_loss_weight=0.1),
        "ours, with visibility and QAConv": LossConfig(),
    }
    ways = {
        "bare loop: backbone, AdaFace head, SGD": bare_step(
            configuration(arch, size, alone, fp32), classes, batch, "cpu"
        )
    }
    for name, loss in losses.items():
        ways[name] = our_step(configuration(arch, size, loss, fp32), classes, batch)[0]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - start)
    bare = seconds[next(iter(ways))]
    for name, taken in seconds.items():
        over = statistics.median(one / other - 1 for one, other in zip(taken, bare, strict=True))
        say(
            f"{arch}, batch {size}, {classes} classes: {name}",
            f"{size / statistics.median(taken):.1f} images/s, {over:+.1%}",
        )


def checkpoint(arch: str, classes: int, saves: int) -> None:
    """How long `save` keeps training waiting, and how long the write takes in the background."""
    config = configuration(arch, 4, LossConfig(), TrainConfig(precision="fp32"))
    take, stepper = our_step(config, classes, faces(4, classes))
    take()  # the optimiser has momenta after it
    state = {"config": "", "module": stepper.module.state_dict(), "optimiser": stepper.optimiser.state_dict()}
    with tempfile.TemporaryDirectory() as folder:
        keeper = CheckpointKeeper(Path(folder), None, "", 2)
        stalls, copies, writes = [], [], []
        for number in range(saves):
            before, start, worked = keeper.stall_seconds, time.perf_counter(), time.thread_time()
            keeper.save(state, number)
            stalls.append(keeper.stall_seconds - before)
            copies.append(time.thread_time() - worked)
            keeper.wait()
            writes.append(time.perf_counter() - start)
        size = max(path.stat().st_size for path in Path(folder).glob("*.ckpt"))
    interval = config.train.checkpoint_every_seconds
    stall, copy = statistics.median(stalls), statistics.median(copies)
    say(f"{arch}, {classes} classes, {size / 1e6:.0f} MB: training waits for a checkpoint", f"{stall * 1e3:.0f} ms")
    say("of which it works, and does not wait for a core", f"{copy * 1e3:.0f} ms")
    say(
        f"share of training at one every {interval:.0f} s, the default",
        f"{stall / interval:.2%}, {copy / interval:.2%}",
    )
    say("until it is on the disk, in the background", f"{statistics.median(writes):.2f} s")


def restart(times: int) -> None:
    """Seconds from SIGKILL of one of two workers to the first new step of both, forked and importing by themselves."""
    for way, variables in {"forked": {}, "importing": {SERVER_VARIABLE: ""}}.items():
        seconds = _restarts(times, variables)
        say(
            f"a worker killed: until the first new step, workers {way}",
            f"{statistics.median(seconds):.1f} s (of {times})",
        )


def _restarts(times: int, variables: dict[str, str]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "oaml_core.cli",
            "train",
            "--config",
            "configs/smoke.yaml",
            "--name",
            "restart",
        ]
        command += ["--optim.epochs", "1000", "--train.val_every_epochs", "1000", "--train.log_samples", "true"]
        command += ["--work_dir", f"{folder}/work", "--store", f"{folder}/store", "--tracking.wandb", "off"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=os.environ | variables)
        try:
            return [_killed(Path(folder) / "work") for _ in range(times)]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def _killed(work: Path) -> float:
    def last(rank: int) -> float:
        logs = list(work.glob(f"runs/*/samples-{rank}.jsonl"))
        lines = logs[0].read_text().splitlines() if logs else []
        return json.loads(lines[-1])["time"] if lines else 0.0

    began = time.time()
    while min(last(0), last(1)) < began:
        time.sleep(0.1)
    pid = int(next(work.glob("runs/*/workers/1.pid")).read_text())
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    while last(1) <= killed or last(0) <= killed:
        time.sleep(0.05)
    return max(last(0), last(1)) - killed


def gpu(arch: str, size: int, classes: int, steps: int) -> None:
    """Images/s with everything on, beside AdaFace as it is published: fp16 autocast, NCHW, not compiled."""
    batch = faces(size, classes)
    alone = LossConfig(adaface_loss_weight=1.0, qaconv_loss_weight=0.0, visibility_loss_weight=0.0)
    fast = TrainConfig(precision="bf16", channels_last=True, compile=True)
    config = configuration(arch, size, alone, fast)
    ways = {
        "published: AdaFace, fp16 autocast, NCHW": bare_step(config, classes, batch, "cuda", fp16=True),
        "ours, AdaFace alone: bf16, channels_last, compiled": our_step(config, classes, batch)[0],
        "ours, all losses": our_step(configuration(arch, size, LossConfig(), fast), classes, batch)[0],
    }
    rate = _bf16_rate()
    flops = _training_flops(arch)
    say("this GPU's bf16 rate, 8192 × 8192 products", f"{rate / 1e12:.0f} TFLOP/s")
    rates = {}
    for name, way in ways.items():
        for _ in range(10):
            way()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            way()
        torch.cuda.synchronize()
        rates[name] = size * steps / (time.perf_counter() - start)
        times = rates[name] / next(iter(rates.values()))
        share = rates[name] * flops / rate
        say(f"{arch}, batch {size}: {name}", f"{rates[name]:,.0f} images/s, {times:.2f} ×, {share:.0%} of that rate")


def _bf16_rate() -> float:
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(50):
        a @ b
    torch.cuda.synchronize()
    return 50 * 2 * 8192**3 / (time.perf_counter() - start)


def _training_flops(arch: str) -> float:
    """Of the backbone for one image, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    backbone = build_backbone(arch)
    with FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(2, 3, 112, 112)).embedding.sum().backward()
    return counter.get_total_flops() / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "checkpoint", "restart", "gpu"])
    parser.add_argument("--arch", nargs="+", default=["ir_18"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=10_572, help="identities; CASIA-WebFace has 10,572")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.what == "gpu" and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here: `gpu` measures nothing.")
    if options.what == "restart":
        restart(options.rounds)
        return
    for arch in options.arch:
        if options.what == "step":
            step(arch, options.batch, options.classes, options.rounds)
        elif options.what == "checkpoint":
            checkpoint(arch, options.classes, options.rounds)
        else:
            gpu(arch, options.batch, options.classes, steps=50)


if __name__ == "__main__":
    run(main)
