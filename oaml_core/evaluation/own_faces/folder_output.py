"""A folder's figures as text, its similarity matrices as arrays and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.amounts import amount
from oaml_core.evaluation.own_faces.folder import FolderResult
from oaml_core.evaluation.scoring.face_store import ScoreName
from oaml_core.evaluation.statistics.identification import SearchOutcome
from oaml_core.whole_file import written_whole

BARS = " ▁▂▃▄▅▆▇█"
SIDE = 480
"""Least side of a matrix in the picture, in pixels."""


def folder_text(result: FolderResult, set_aside: Sequence[Mapping[str, str]] = ()) -> str:
    """Counts, rates and histograms of every score, and what could not be read."""
    first = next(iter(result.all_pairs.values()))
    people = int(np.unique(result.identities).size)
    lines = [
        f"{amount(len(result.names), 'image')} of {people:,} identities: {first.genuine:,} genuine and "
        f"{amount(first.impostors, 'impostor pair')}; 95 % intervals over people",
        "",
        f"{'':<16}" + "".join(f"{name:>28}" for name in result.all_pairs),
        f"{'AUC':<16}" + "".join(f"{found.auc.value:>28.4f}" for found in result.all_pairs.values()),
        f"{'EER':<16}" + "".join(f"{_percent(found.eer.value):>28}" for found in result.all_pairs.values()),
    ]
    for row, point in enumerate(first.tar_at_far):
        cells = (
            _with_interval(found.tar_at_far[row].tar, found.tar_intervals[row]) for found in result.all_pairs.values()
        )
        lines.append(f"{f'VR@FAR {point.far:g}':<16}" + "".join(f"{cell:>28}" for cell in cells))
    lines += _searches(result.identification)
    for name, found in result.all_pairs.items():
        low, high = found.histogram["edges"][0], found.histogram["edges"][-1]
        lines += ["", f"{name} scores, {low:.3g} … {high:.3g}"]
        lines += [f"  {kind:<9}{_bars(found.histogram[kind])}" for kind in ("genuine", "impostor")]
    if set_aside:
        lines += ["", f"set aside: {amount(len(set_aside), 'image')}"]
        lines += [f"  {one['image']}: {one['reason']}" for one in set_aside]
    return "\n".join(lines) + "\n"


def _searches(identification: Mapping[ScoreName, SearchOutcome]) -> list[str]:
    """Ranks and misses of every score, with their intervals."""
    first = next(iter(identification.values()))
    rates = [f"rank {k}" for k in first.rank] + [f"FNIR at FPIR {point.fpir:g}" for point in first.fnir_at_fpir]
    lines = [
        "",
        f"1:N: {amount(first.probes, 'probe')} in a gallery of {first.gallery:,} identities, one image each",
        f"{'score':<10}" + "".join(f"{rate:>28}" for rate in rates),
    ]
    for name, found in identification.items():
        cells = [_with_interval(found.rank[k], found.rank_interval[k]) for k in found.rank]
        cells += [_with_interval(point.fnir, point.interval) for point in found.fnir_at_fpir]
        lines.append(f"{name:<10}" + "".join(f"{cell:>28}" for cell in cells))
    return lines


def save_matrices(result: FolderResult, people: Sequence[str], sha256: Sequence[str], path: Path) -> Path:
    """Write `names` [n], `identities` [n], `sha256` [n] and a matrix [n, n] for every score, by rename.

    Args:
        result: with matrices.
        people: [n], name of the identity that each image shows.
        sha256: [n], of the images as files, hexadecimal: by these `oaml forget` finds a person in the matrices.
        path: `….npz`.
    """
    assert result.matrices is not None
    arrays: dict[str, NDArray[Any]] = {"names": np.array(result.names), "identities": np.array(people)}
    arrays["sha256"] = np.array(sha256)
    arrays |= {str(name): matrix for name, matrix in result.matrices.items()}
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return path


def save_picture(result: FolderResult, path: Path) -> Path:
    """Draw the matrices side by side, images ordered by identity: bright is alike."""
    assert result.matrices is not None
    order = np.argsort(result.identities, kind="stable")
    tiles = [_tile(matrix[np.ix_(order, order)]) for matrix in result.matrices.values()]
    gap = np.full((tiles[0].shape[0], 12), 255, np.uint8)
    joined = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    with written_whole(path) as partial:
        Image.fromarray(joined).save(partial, "PNG")
    return path


def _tile(matrix: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.quantile(matrix, [0.01, 0.99])
    grey = (np.clip((matrix - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    times = max(1, SIDE // len(matrix))
    result: NDArray[np.uint8] = grey.repeat(times, 0).repeat(times, 1)
    return result


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _with_interval(share: float | None, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return _percent(share)
    return f"{_percent(share)} ({100 * interval[0]:.2f} … {100 * interval[1]:.2f})"


def _bars(counts: Sequence[float]) -> str:
    top = max(*counts, 1)
    return "".join(BARS[int(np.ceil(count / top * (len(BARS) - 1)))] for count in counts)
