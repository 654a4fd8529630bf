"""Class embeddings: who is a candidate, how maps are learnt, what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.models.class_embeddings import GIB, ClassEmbeddings, each_once, one_after_the_other

CLOSE = {"rtol": 0, "atol": 1e-3}
"""Half precision of unit vectors."""


def embeddings(num_classes: int = 6, k_nearest: int = 3) -> ClassEmbeddings:
    return ClassEmbeddings(num_classes, 8, (2, 3), k_nearest=k_nearest, limit=GIB)


def drawn(seed: int, count: int) -> Tensor:
    return torch.randn(count, 8, 2, 3, generator=torch.Generator().manual_seed(seed))


ONES = torch.ones(4, 1, 2, 3)


def unit(maps: Tensor) -> Tensor:
    return functional.normalize(maps.flatten(2), dim=1)


def test_a_class_looks_like_its_last_image_of_the_batch() -> None:
    classes, maps = embeddings(), drawn(0, 4)
    classes.update(torch.tensor([2, 5, 2, 0]), maps, ONES)
    assert classes.seen.tolist() == [True, False, True, False, False, True]
    torch.testing.assert_close(classes.maps[[2, 5, 0]].float(), unit(maps[[2, 1, 3]]), **CLOSE)


def test_places_are_replaced_as_far_as_they_are_visible() -> None:
    classes, first, second = embeddings(), drawn(0, 4), drawn(1, 4)
    labels, visibility = torch.arange(4), ONES.clone()
    visibility[:, :, 0, 0], visibility[:, :, 0, 1] = 0, 0.25
    classes.update(labels, first, visibility)
    torch.testing.assert_close(classes.maps[:4].float(), unit(first), **CLOSE)
    classes.update(labels, second, visibility)
    found = classes.maps[:4].float()
    torch.testing.assert_close(found[..., 0], unit(first)[..., 0], **CLOSE)
    torch.testing.assert_close(found[..., 1], 0.75 * unit(first)[..., 1] + 0.25 * unit(second)[..., 1], **CLOSE)
    torch.testing.assert_close(found[..., 2:], unit(second)[..., 2:], **CLOSE)


def test_images_that_are_not_finite_leave_no_trace() -> None:
    classes, maps = embeddings(), drawn(0, 4)
    classes.update(torch.tensor([1, 1, 2, 3]), maps, ONES)
    before = classes.maps.clone()
    bad = drawn(1, 4)
    bad[1, 0, 0, 0], bad[2] = torch.nan, torch.inf
    classes.update(torch.tensor([1, 1, 2, 5]), bad, ONES)
    torch.testing.assert_close(classes.maps[1].float(), unit(bad)[0], **CLOSE)
    assert torch.equal(classes.maps[2], before[2])
    assert classes.maps.isfinite().all()


def test_candidates_are_the_own_class_and_its_nearest() -> None:
    classes, maps = embeddings(), drawn(0, 4)
    classes.nearest.copy_(torch.from_numpy(np.array([[1, 2], [0, 2], [3, 4], [2, 4], [5, 3], [4, 0]])))
    classes.update(torch.arange(4), maps, ONES)
    found = classes.candidates(torch.tensor([2, 0, 2]))
    assert found.maps.shape == (5, 8, 2, 3)
    torch.testing.assert_close(found.maps[found.columns[1]].flatten(2), unit(maps[[0, 1, 2]]), **CLOSE)
    assert found.known.tolist() == [[True, True, False], [True, True, True], [True, True, False]]


def test_there_are_no_more_candidates_than_classes() -> None:
    assert embeddings(num_classes=2, k_nearest=32).candidates(torch.tensor([0, 1])).columns.shape == (2, 2)


def test_on_a_gpu_candidates_are_the_same_without_counting_them() -> None:
    classes = torch.tensor([[3, 1, 1], [0, 3, 5]])
    for met, columns in (each_once(classes), one_after_the_other(classes)):
        torch.testing.assert_close(met[columns], classes)


def test_what_would_not_fit_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"360,232 identities, 512 × 7 × 7.* 16\.8 GiB .*softmax_triplet_loss_weight"):
        ClassEmbeddings(360_232, 512, (7, 7), k_nearest=32, limit=8 * GIB)


def test_labels_and_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelInputError, match=r"\[0, 6\]; there are 6 classes"):
        embeddings().candidates(torch.tensor([0, 6]))
    with pytest.raises(ModelInputError, match="int64"):
        embeddings().candidates(torch.tensor([0.0]))
    with pytest.raises(ModelInputError, match=r"\[4, 8, 2, 3\], not \[4, 8, 3, 2\]"):
        embeddings().update(torch.arange(4), drawn(0, 4).mT, ONES)
    with pytest.raises(ModelInputError, match="on meta"):
        embeddings().candidates(torch.zeros(2, dtype=torch.int64, device="meta"))
