"""`oaml compare-matchers`: all matchers on the same maps, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import Config, ModelConfig
from oaml_core.data.batches.datamodule import FaceDataModule
from oaml_core.data.batches.plan import missing_attributes
from oaml_core.data.batches.samplers import PKBatchSampler
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.errors import DataError
from oaml_core.evaluation.statistics.roc import auc, roc
from oaml_core.losses.pairwise import BatchScores, pair_scores, pairwise_matching_loss
from oaml_core.models.build import build_matcher
from oaml_core.models.matcher import Matcher
from oaml_core.models.recogniser import Recogniser
from oaml_core.peak_memory import peak_mib
from oaml_core.registry import MATCHERS

LEARNING_RATE = 1e-3
"""Learning rate of Adam for freshly built matchers."""
ROUNDS = 3
"""Measurements, of which the fastest counts."""


class MatchedBatch(NamedTuple):
    """The inputs of matchers for a batch."""

    maps: Tensor
    """float32 [B, C, h, w]"""
    visibility: Tensor
    """float32 [B, 1, h, w] in [0, 1]"""
    labels: Tensor
    """int64 [B]"""


@dataclass(frozen=True)
class MatcherFigures:
    """One matcher's outcome. Scores are of the second batch, times and memory of one batch with itself."""

    name: str
    parameters: int
    loss: float
    """Pairwise matching, mean over the probes."""
    auc: float
    """Chance that a genuine pair scores above an impostor pair."""
    genuine: float
    """Mean score of genuine pairs, and their spread."""
    genuine_spread: float
    impostor: float
    impostor_spread: float
    match_ms: float
    """All scores of the batch with itself, in evaluation."""
    pairs_ms: float
    """Time to score as many pairs as the batch has images, in evaluation."""
    step_ms: float
    """Forward and backward of the batch with itself."""
    step_mib: float | None
    """Peak memory of that beyond what was there; None where it cannot be measured."""


def compare_matchers(
    learning: MatchedBatch, test: MatchedBatch, config: ModelConfig, *, steps: int, trained: Matcher | None = None
) -> list[MatcherFigures]:
    """Let every matcher learn from one batch and look at it on another.

    Args:
        learning, test: batches of the same size of map.
        config: of the model; its matcher is replaced by each in turn.
        steps: of learning, 0 or more.
        trained: stands for the matcher of its kind, and learns no more.
    """
    names = MATCHERS.names()
    return [_figures(name, learning, test, config, steps, trained) for name in names]


def _figures(
    name: str, learning: MatchedBatch, test: MatchedBatch, config: ModelConfig, steps: int, trained: Matcher | None
) -> MatcherFigures:
    torch.manual_seed(0)
    channels, *size = learning.maps.shape[1:]
    matcher = build_matcher(replace(config, matcher=name), channels, (size[0], size[1])).to(learning.maps.device)
    if type(trained) is type(matcher):
        matcher.load_state_dict(trained.state_dict())
    else:
        _learn(matcher, learning, steps)
    matcher.eval()
    with torch.inference_mode():
        pairs = _pairs(matcher, test)
        loss = pairwise_matching_loss(pairs).loss.mean().item()
        match_ms = _fastest(lambda: matcher.match(test.maps, test.maps, test.visibility, test.visibility))
        pairs_ms = _fastest(lambda: matcher.match_pairs(test.maps, test.maps, test.visibility, test.visibility))
    genuine, impostor = (pairs.scores[which & pairs.counted] for which in (pairs.genuine, ~pairs.genuine))
    curve = roc(pairs.scores[pairs.counted].cpu().numpy(), pairs.genuine[pairs.counted].cpu().numpy())
    matcher.train()
    step_ms = _fastest(lambda: _step(matcher, test))
    return MatcherFigures(
        name=name,
        parameters=sum(p.numel() for p in matcher.parameters()),
        loss=loss,
        auc=auc(curve),
        genuine=genuine.mean().item(),
        genuine_spread=genuine.std().item(),
        impostor=impostor.mean().item(),
        impostor_spread=impostor.std().item(),
        match_ms=match_ms,
        pairs_ms=pairs_ms,
        step_ms=step_ms,
        step_mib=peak_mib(lambda: _step(matcher, test), test.maps.device),
    )


def _learn(matcher: Matcher, batch: MatchedBatch, steps: int) -> None:
    optimiser = torch.optim.Adam(matcher.train().parameters(), LEARNING_RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        _step(matcher, batch)
        optimiser.step()


def _step(matcher: Matcher, batch: MatchedBatch) -> None:
    """Forward and backward, to the maps as well: a backbone would need their gradient."""
    maps = batch.maps.clone().requires_grad_()
    pairwise_matching_loss(_pairs(matcher, batch._replace(maps=maps))).loss.mean().backward()


def _pairs(matcher: Matcher, batch: MatchedBatch) -> BatchScores:
    scores = matcher.match(batch.maps, batch.maps, batch.visibility, batch.visibility)
    return pair_scores(scores, batch.labels, batch.labels, torch.arange(len(scores), device=scores.device))


def _fastest(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of a few runs."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def planned_batches(
    model: Recogniser, config: Config, dataset: PreparedDataset, device: torch.device
) -> list[MatchedBatch]:
    """Return the first two global batches of training as `model` sees them."""
    sampler = "pk" if config.data.sampler == "graph" else config.data.sampler
    data = FaceDataModule(replace(config, data=replace(config.data, sampler=sampler, visibility_batch_size=0)), dataset)
    model.eval().to(device)
    found = []
    with torch.inference_mode():
        for batch in islice(data.train_dataloader(), 2):
            features = model(batch.images.to(device))
            found.append(
                MatchedBatch(features.feature_map.float(), features.visibility.float(), batch.labels.to(device))
            )
    if len(found) < 2:
        raise DataError("The training set has only one batch; make data.batch_size smaller.")
    # Inference tensors take part in no gradient.
    return [MatchedBatch(*(x.clone() for x in batch)) for batch in found]


def attribute_check(labels: NDArray[np.int64], batch_size: int, num_instances: int) -> str:
    """Return a line that says whether the sampler of P identities × K images has what Lightning asks for.

    Args:
        labels: [N], identity of each image.
        batch_size: images per batch; P is as many identities as fit.
        num_instances: K.
    """
    identities = batch_size // num_instances
    missing = missing_attributes(PKBatchSampler(labels, num_identities=identities, num_instances=num_instances))
    if missing:
        return f"PKBatchSampler: MISSING ATTRIBUTES: {', '.join(missing)}"
    return "PKBatchSampler: ALL ATTRIBUTES PRESENT - PyTorch Lightning compatible"


def format_figures(figures: Sequence[MatcherFigures]) -> str:
    """Return a table, one matcher a column."""
    rows: dict[str, Callable[[MatcherFigures], str]] = {
        "parameters": lambda f: f"{f.parameters:,}",
        "genuine scores": lambda f: f"{f.genuine:.2f} ± {f.genuine_spread:.2f}",
        "impostor scores": lambda f: f"{f.impostor:.2f} ± {f.impostor_spread:.2f}",
        "genuine above impostor": lambda f: f"{100 * f.auc:.2f} %",
        "pairwise loss": lambda f: f"{f.loss:.2f}",
        "all pairs, evaluation": lambda f: f"{f.match_ms:.0f} ms",
        "as many pairs as images": lambda f: f"{f.pairs_ms:.0f} ms",
        "forward and backward": lambda f: f"{f.step_ms:.0f} ms",
        "memory of that": lambda f: "not measured" if f.step_mib is None else f"{f.step_mib:.0f} MiB",
    }
    lines = ["".join([f"{'':26}", *(f"{f.name:>18}" for f in figures)])]
    lines += ["".join([f"{what:26}", *(f"{show(f):>18}" for f in figures)]) for what, show in rows.items()]
    return "\n".join(lines)
