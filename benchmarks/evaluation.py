"""Evaluation and export, each beside what would be run instead.

    python -m benchmarks.evaluation protocol              # ten folds: one count against the loop over thresholds
    python -m benchmarks.evaluation all-pairs             # ROC over all pairs of 13,000 images, streamed and at once
    python -m benchmarks.evaluation runtime --arch ir_50  # images/s by onnxruntime, OpenVINO, torch, torch.compile

Times are the best of several repeats in one process, so that a busy machine does less harm; of `runtime` medians. Of
the protocols, and of models on one thread, they are processor time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Cell, Sheet, command, measured, write
from benchmarks.runtime import COLUMNS, in_own_folder
from benchmarks.told import run
from oaml_core.evaluation.statistics.all_pairs import all_pairs_roc
from oaml_core.evaluation.statistics.protocols import PUBLISHED_THRESHOLDS, fold_numbers, ten_fold, ten_fold_any_range
from oaml_core.evaluation.statistics.roc import TarAtFar, roc, tar_at_far
from oaml_core.peak_memory import peak_mib


def best_seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Shortest of `repeats` runs, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def loop_over_thresholds(distances: NDArray[np.float64], issame: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The protocol as published code runs it: every fold, every threshold, a confusion matrix each."""
    fold = fold_numbers(distances.size)
    accuracies = []
    for k in range(10):
        train, test = fold != k, fold == k
        on_train = [confusion(distances[train], issame[train], t)[2] for t in PUBLISHED_THRESHOLDS]
        # The published code also takes TPR and FPR of the test fold at every threshold.
        on_test = [confusion(distances[test], issame[test], t) for t in PUBLISHED_THRESHOLDS]
        accuracies.append(on_test[int(np.argmax(on_train))][2])
    return np.array(accuracies)


def confusion(
    distances: NDArray[np.float64], issame: NDArray[np.bool_], threshold: float
) -> tuple[float, float, float]:
    """TPR, FPR and accuracy at one threshold."""
    accepted = np.less(distances, threshold)
    tp, fp = np.sum(accepted & issame), np.sum(accepted & ~issame)
    tn, fn = np.sum(~accepted & ~issame), np.sum(~accepted & issame)
    return tp / (tp + fn), fp / (fp + tn), (tp + tn) / distances.size


def protocol(sheet: Sheet, pairs: int) -> None:
    """Ten folds: seconds of the loop, of the published protocol counted at once, and of any-range scores."""
    generator = np.random.default_rng(0)
    issame = np.arange(pairs) % 2 == 0
    distances = generator.normal(np.where(issame, 1.1, 1.9), 0.25).clip(0, 4)
    np.testing.assert_allclose(loop_over_thresholds(distances, issame), ten_fold(distances, issame).accuracy_by_fold)

    loop = best_seconds(lambda: loop_over_thresholds(distances, issame), 3, time.process_time)
    ours = best_seconds(lambda: ten_fold(distances, issame), 30, time.process_time)
    any_range = best_seconds(lambda: ten_fold_any_range(-distances, issame), 30, time.process_time)
    sheet.say(
        f"10 folds of {pairs:,} pairs: loop over 400 thresholds, as published code runs it", f"{1e3 * loop:.1f} ms"
    )
    sheet.say("the same accuracies, `ten_fold`", f"{1e3 * ours:.2f} ms, {loop / ours:,.0f} ×")
    sheet.say(
        "all distinct thresholds, scores of any range, `ten_fold_any_range`",
        f"{1e3 * any_range:.2f} ms, {loop / any_range:,.0f} ×",
    )


def all_pairs(images: int, both: bool, out: Path | None = None) -> None:
    """ROC over all pairs: processor seconds and memory, streamed and (if `both`) with all scores at once."""
    found: list[list[Cell]] = []
    for way in ("streamed", "at once") if both else ("streamed",):
        # A process each: memory that one way needed would hide what the other needs.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pairs, seconds, mebibytes, tars = pool.submit(_all_pairs, images, way).result()
        print(
            f"{images:,} images, {pairs:,} pairs, {way:<9} {seconds:8.2f} s of one core {mebibytes:8.0f} MiB   {tars}"
        )
        found.append([images, pairs, way, seconds, mebibytes])
    if out is not None:
        columns = ["images", "pairs", "scores", "seconds of one core", "MiB"]
        asked = f"python -m benchmarks.evaluation all-pairs --images {images}{' --both' if both else ''}"
        write(measured(asked, columns, found, ["numpy"]), out)


def _all_pairs(images: int, way: str) -> tuple[int, float, float, str]:
    """Pairs, seconds, growth of the memory in MiB, and the TAR found."""
    rates = (1e-1, 1e-2, 1e-4, 1e-6)
    generator = np.random.default_rng(0)
    identities = np.arange(images) // 10
    rows = generator.normal(size=(images, 512)) + 0.35 * generator.normal(size=(images // 10 + 1, 512))[identities]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    points: list[TarAtFar] = []
    began = time.process_time()

    def measure() -> None:
        if way == "streamed":
            points.extend(all_pairs_roc(lambda r, c: rows[r] @ rows[c].T, identities, rates).tar_at_far)
        else:
            upper = np.triu_indices(images, 1)
            points.extend(tar_at_far(roc((rows @ rows.T)[upper], identities[upper[0]] == identities[upper[1]]), rates))

    grown = peak_mib(measure) or float("nan")
    seconds = time.process_time() - began
    return images * (images - 1) // 2, seconds, grown, ", ".join(map(str, points))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["protocol", "all-pairs", "runtime"])
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--images", type=int, default=13_000)
    parser.add_argument("--both", action="store_true", help="all-pairs: with all scores at once too")
    parser.add_argument("--arch", default="ir_50")
    parser.add_argument("--source", default="lfw112", help="runtime: real faces")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the figures")
    arguments = parser.parse_args()
    sheet = Sheet()
    if arguments.what == "protocol":
        protocol(sheet, arguments.pairs)
    elif arguments.what == "all-pairs":
        all_pairs(arguments.images, arguments.both, arguments.out)
    else:
        how = (arguments.arch, arguments.source, arguments.batch, arguments.threads, arguments.rounds)
        rows = in_own_folder(*how, compiled=arguments.compile)
        if arguments.out is not None:
            asked = command("benchmarks.evaluation", sys.argv[1:])
            write(measured(asked, COLUMNS, rows, ["torch", "onnxruntime", "openvino"]), arguments.out)
    if sheet.rows:
        sheet.save("benchmarks.evaluation", sys.argv[1:], ["numpy"], arguments.out)


if __name__ == "__main__":
    run(main)
