"""Graph sampling: an anchor and the classes nearest to it, resumable although distances change."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from torch import Tensor

from oaml_core.data.batches.graph_sampler import GraphBatchSampler, feature_distances, nearest_classes
from oaml_core.errors import ConfigError, DataError

CLASSES, IMAGES = 12, 6
ALL = np.arange(CLASSES)
LABELS = np.repeat(ALL, IMAGES)
ON_A_LINE = torch.arange(CLASSES).float()[:, None] ** 1.1
"""Features: each class's neighbours are those with the nearest numbers."""


def sampler(distances: object = None, labels: np.ndarray = LABELS, **place: int) -> GraphBatchSampler:
    given = feature_distances(ON_A_LINE) if distances is None else distances

    def nearest(classes: np.ndarray, count: int) -> np.ndarray:
        return nearest_classes(given, classes, count, CLASSES)  # type: ignore[arg-type]

    return GraphBatchSampler(labels, 8, num_instances=2, nearest=nearest, seed=0, **place)  # type: ignore[arg-type]


def identities(batch: list) -> list[int]:
    return [int(LABELS[key.image]) for key in batch]


def test_a_batch_is_an_anchor_and_its_nearest_classes() -> None:
    plan = sampler()
    expected = nearest_classes(feature_distances(ON_A_LINE), ALL, 3, CLASSES)
    for number in range(len(plan)):
        shown = identities(plan.global_batch(number))
        assert shown[::2] == shown[1::2], "two images of each"
        assert shown[2::2] == expected[shown[0]].tolist()


def test_every_class_is_an_anchor_before_any_is_again() -> None:
    plan = sampler()
    anchors = []
    for epoch in range(4):
        plan.set_epoch(epoch)
        anchors += [identities(plan.global_batch(number))[0] for number in range(len(plan))]
    assert len(plan) == 9
    assert [sorted(anchors[start : start + CLASSES]) for start in (0, 12, 24)] == [list(range(CLASSES))] * 3
    assert anchors[:12] != anchors[12:24]


def test_images_of_a_class_are_all_shown_before_any_is_again() -> None:
    plan = sampler()
    shown = np.concatenate([[key.image for key in plan.global_batch(number)] for number in range(len(plan))])
    for label in range(CLASSES):
        times = np.bincount(shown[LABELS[shown] == label], minlength=len(LABELS))[label == LABELS]
        assert times.max() - times.min() <= 1


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_the_workers_slices_are_the_plan(workers: int) -> None:
    whole = sampler()
    slices = [list(sampler(rank=rank, world_size=workers)) for rank in range(workers)]
    planned = [whole.global_batch(number) for number in range(len(whole))]
    assert [list(chain(*parts)) for parts in zip(*slices, strict=True)] == planned


def test_distances_are_asked_anew_every_epoch() -> None:
    asked = []

    def distances(classes: np.ndarray) -> Tensor:
        asked.append(classes.tolist())
        return feature_distances(ON_A_LINE)(classes)

    plan = sampler(distances)
    assert asked == [], "building looks up nothing"
    for epoch in range(2):
        plan.set_epoch(epoch)
        list(plan)
        anchors = [identities(plan.global_batch(number))[0] for number in range(len(plan))]
        assert asked[epoch] == anchors, "the distances of the epoch's anchors, and no others"
    assert len(asked) == 2


def test_a_resumed_epoch_keeps_its_plan_although_the_model_has_moved() -> None:
    first = sampler()
    first.set_epoch(1)
    planned = list(first)
    first.load_state_dict(first.state_dict() | {"batch": 4})
    state = first.state_dict()
    moved = torch.randn(CLASSES, 3, generator=torch.Generator().manual_seed(0))
    resumed = sampler(feature_distances(moved))
    resumed.load_state_dict(state)
    assert list(resumed) == planned[4:]
    resumed.set_epoch(2)
    first.set_epoch(2)
    assert list(resumed) != list(first), "the next epoch is the moved model's"


def test_blocks_of_rows_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(1))
    whole = nearest_classes(torch.cdist(features, features).numpy(), ALL, 4, CLASSES)
    monkeypatch.setattr("oaml_core.data.batches.graph_sampler.BLOCK_ELEMENTS", 5 * CLASSES)
    np.testing.assert_array_equal(nearest_classes(feature_distances(features), ALL, 4, CLASSES), whole)
    some = np.array([7, 2, 11, 2])
    np.testing.assert_array_equal(nearest_classes(feature_distances(features), some, 4, CLASSES), whole[some])


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(DataError, match="no image of label 3"):
        sampler(labels=np.where(LABELS == 3, 4, LABELS))
    with pytest.raises(DataError, match=r"shape \[9, 5\]; \[9, 12\] is wanted"):
        list(sampler(np.zeros((CLASSES, 5), np.float32)))
    with pytest.raises(DataError, match="not finite"):
        list(sampler(np.full((CLASSES, CLASSES), np.nan, np.float32)))
    with pytest.raises(ConfigError, match="saved with"):
        sampler().load_state_dict({"epoch": 0, "batch": 1, "neighbours": torch.zeros(5, 3)})
