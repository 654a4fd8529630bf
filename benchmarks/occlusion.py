"""Covered faces: global, local and combined score of a pretrained backbone that is kept as it is.

    python benchmarks/occlusion.py features train --part 0/2     # likewise 1/2, at the same time or later
    python benchmarks/occlusion.py features test
    python benchmarks/occlusion.py train
    python benchmarks/occlusion.py average --checkpoint … --other …
    python benchmarks/occlusion.py weight --checkpoint .oaml/occlusion/best.ckpt
    python benchmarks/occlusion.py table --checkpoint .oaml/occlusion/best.ckpt

The backbone never changes, so what its layers below the local ones give is computed once for each training face, clean
and with drawn occluders (training artwork), and kept in `--work`. `train` then learns the local layers, the pooled
matcher and the visibility head, and writes a checkpoint that `oaml evaluate`, `oaml export` and `oaml match` take.
`average` takes the mean of two checkpoints' weights, of which one may have fewer local layers. `weight` tries weights
of the combined score on the training people that `train` sets aside. `table` compares every face of the verification
set with every other one: the probe as it is, the gallery's face covered by test artwork; as everywhere, the global
score fuses image and mirror image, and the combined one takes the configuration's weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from occlusion_checkpoints import average, load
from occlusion_features import DRAWINGS, Work, everybody, test_features, training_features
from occlusion_tar import Tar
from occlusion_training import cached, train
from torch import Tensor
from torch.nn import functional

from oaml_core import stages
from oaml_core.evaluation.scoring.combine import Normalisation
from oaml_core.models.recogniser import build_recogniser
from oaml_core.settings import load_config

CONDITIONS = ("clean", "surgical", "veil", "sunglasses", "scarf", "hand", "blocks")


def opened(arguments: argparse.Namespace) -> Work:
    overrides = ["--data.source", str(arguments.source), "--model.weights", str(arguments.weights)]
    if arguments.local_layers is not None:
        overrides += ["--model.local_layers", str(arguments.local_layers)]
    folder = Path(arguments.work)
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(arguments.config, [*overrides, "--store", str(folder / "store"), "--work_dir", str(folder)])
    dataset = stages.fetch_dataset(config, stages.prepare(config).dataset_uri)
    torch.manual_seed(config.seed)
    return Work(config, folder, dataset, build_recogniser(config.model, config.data.image_size).eval())


# Training.


# Figures.


class ConditionFaces(NamedTuple):
    """Faces under one condition."""

    embedding: Tensor
    """[n, E], unit length, image and mirror image fused."""
    maps: Tensor
    visible: Tensor
    """[n, 1, h, w], predicted."""
    truth: Tensor
    """Likewise, of what was drawn."""


def side(work: Work, condition: str) -> ConditionFaces:
    content = np.load(work.folder / f"test-{condition}.npz")
    return side_of(work, content["earlier"], content["raw"] + content["mirrored_raw"], content["visible"])


@torch.inference_mode()
def side_of(
    work: Work, earlier: NDArray[np.float16], raw: NDArray[np.float32], truth: NDArray[np.float32]
) -> ConditionFaces:
    embedding = functional.normalize(torch.from_numpy(raw), dim=1)
    local = work.model.local_layers
    assert local is not None
    with torch.autocast("cpu", torch.bfloat16):
        parts = np.array_split(earlier, max(1, len(earlier) // 64))
        maps = torch.cat([local(torch.from_numpy(part).float()) for part in parts])
        visible = torch.cat([work.model.visibility_head(part) for part in maps.split(64)])
    return ConditionFaces(embedding, maps.float(), visible.float(), torch.from_numpy(truth))


@torch.inference_mode()
def compared(
    work: Work, probe: ConditionFaces, gallery: ConditionFaces
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Global and local scores [n, n]."""
    local = work.model.matcher.match(probe.maps, gallery.maps, probe.visible, gallery.visible)
    return (probe.embedding @ gallery.embedding.T).double().numpy(), local.double().numpy()


def table(work: Work, conditions: list[str]) -> None:
    """TAR at FAR 10⁻³ by score in %, what the combined one gains, the share won back of what is lost."""
    (pairs,) = work.dataset.verification.values()
    known = everybody(pairs, str(work.config.data.source))
    judge = Tar(known.people)
    print(f"{len(judge.genuine):,} genuine, {len(judge.impostor):,} impostor pairs, {known.people.max() + 1} people")
    print("| condition | covered | global | local | combined | combined − global | won back | map IoU |")
    print("|---|---|---|---|---|---|---|---|")
    clean = side(work, "clean")
    normalisation, lost_from, share_of_local = None, 0.0, local_weight(work)
    for condition in conditions:
        covered = clean if condition == "clean" else side(work, condition)
        scores = compared(work, clean, covered)
        if normalisation is None:
            normalisation = clean_statistics(scores, known.pairs)
        combined = mixed(normalisation, scores, share_of_local)
        found = {"global": judge.of(scores[0]), "local": judge.of(scores[1]), "combined": judge.of(combined)}
        lost_from = lost_from or found["global"][0]
        gain = found["combined"][0] - found["global"][0]
        low, high = np.quantile(found["combined"][1] - found["global"][1], (0.025, 0.975))
        lost = lost_from - found["global"][0]
        back = "" if condition == "clean" else f"{100 * gain / lost:.0f} %"
        hidden, predicted = covered.truth < 0.5, covered.visible < 0.5
        iou = "" if condition == "clean" else f"{float((hidden & predicted).sum() / (hidden | predicted).sum()):.2f}"
        cells = [f"{100 * found[score][0]:.1f}" for score in ("global", "local", "combined")]
        difference = f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        share = f"{100 * (1 - float(covered.truth.mean())):.0f} %"
        print(f"| {condition} | {share} | {' | '.join(cells)} | {difference} | {back} | {iou} |", flush=True)


def weight(work: Work) -> None:
    """TAR in % at FAR 10⁻³ of the people that training set aside, by weight of the local score.

    Their clean images against their covered ones; no mirror images, and occluders that training draws too.
    """
    data = cached(work.folder).of_people(kept=True)
    people = np.unique(data.labels, return_inverse=True)[1]
    judge = Tar(people, resamples=0)
    generator = np.random.default_rng(0)
    sample = generator.permutation(judge.impostor)[: len(judge.genuine)]
    versions = [side_of(work, data.earlier[:, n], data.raw[:, n], data.visible[:, n]) for n in range(1 + DRAWINGS)]
    compares = [compared(work, versions[0], version) for version in versions]
    normalisation = clean_statistics(compares[0], np.concatenate([judge.genuine, sample]))
    print(f"{len(judge.genuine):,} genuine, {len(judge.impostor):,} impostor pairs, {people.max() + 1} people")
    for share in np.linspace(0, 1, 11):
        clean, *covered = (100 * judge.of(mixed(normalisation, scores, share))[0] for scores in compares)
        print(f"local {share:.1f}: clean {clean:.2f}, covered {np.mean(covered):.2f}", flush=True)


def local_weight(work: Work) -> float:
    """The configuration's, of a sum of 1."""
    chosen = work.config.evaluate
    return chosen.qaconv_weight / (chosen.adaface_weight + chosen.qaconv_weight)


def mixed(
    normalisation: Normalisation, scores: tuple[NDArray[np.float64], NDArray[np.float64]], local: float
) -> NDArray[np.float64]:
    """Combined score of global and local ones."""
    one, other = normalisation.apply(*scores)
    return (1 - local) * one + local * other


def clean_statistics(scores: tuple[NDArray[np.float64], ...], pairs: NDArray[np.int64]) -> Normalisation:
    """As in evaluation: mean and deviation of the set's clean pairs, genuine and impostor."""
    one, other = (values[tuple(pairs.T)] for values in scores)
    return Normalisation(float(one.mean()), float(one.std()), float(other.mean()), float(other.std()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["features", "train", "average", "weight", "table"])
    parser.add_argument("split", nargs="?", choices=["train", "test"])
    parser.add_argument("--config", default="configs/lfw_mobilefacenet.yaml")
    parser.add_argument("--source", default="lfw112")
    parser.add_argument("--weights", default="mobilefacenet_y1.onnx")
    parser.add_argument("--work", default=".oaml/occlusion")
    parser.add_argument("--part", default="0/1", help="this process' share of the training faces")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--people", type=int, default=24, help="in a batch")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--checkpoint", type=Path, default=None, help="to make the table of, or to go on training from")
    parser.add_argument("--other", type=Path, default=None, help="of `average`")
    parser.add_argument("--local-layers", type=int, default=None, help="other than the configuration's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = opened(arguments)
    conditions = arguments.conditions.split(",")
    if arguments.checkpoint is not None:
        load(work, arguments.checkpoint)
    if arguments.what == "train":
        train(work, arguments.steps, arguments.people, arguments.lr)
    elif arguments.what == "average":
        average(work, arguments.checkpoint, arguments.other)
    elif arguments.what == "weight":
        weight(work)
    elif arguments.what == "table":
        table(work, conditions)
    elif arguments.split == "train":
        part, parts = map(int, arguments.part.split("/"))
        training_features(work, part, parts)
    else:
        test_features(work, conditions)


if __name__ == "__main__":
    main()
