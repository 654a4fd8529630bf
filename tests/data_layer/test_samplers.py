"""Batches: whole identities, the same for any number of workers, resumable anywhere."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oaml_core.config import DataConfig
from oaml_core.data.batches.plan import BatchSampler, SampleKey, mixed_seed, slice_of
from oaml_core.data.batches.samplers import PKBatchSampler, build_batch_sampler
from oaml_core.errors import ConfigError, DataError

COUNTS = st.lists(st.integers(1, 30), min_size=8, max_size=40)


def sampler(counts: list[int], *, seed: int = 0, rank: int = 0, world_size: int = 1, kind: str = "pk") -> BatchSampler:
    config = DataConfig(batch_size=32, num_instances=4, sampler=kind)  # type: ignore[arg-type]
    labels = np.repeat(np.arange(len(counts)), counts)
    return build_batch_sampler(config, labels, seed=seed, rank=rank, world_size=world_size)


def batches(plan: BatchSampler) -> list[list[SampleKey]]:
    return [plan.global_batch(number) for number in range(len(plan))]


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(0, 1000), st.sampled_from(["pk", "pk_local", "random_identity"]))
def test_every_identity_of_a_batch_has_k_images_of_its_own(counts: list[int], seed: int, kind: str) -> None:
    plan = sampler(counts, seed=seed, kind=kind)
    for batch in batches(plan):
        groups = np.array([key.image for key in batch]).reshape(-1, 4)
        identities = plan.labels[groups]
        assert (identities == identities[:, :1]).all()
        for group, identity in zip(groups, identities[:, 0], strict=True):
            assert len(set(group.tolist())) == min(4, counts[identity])


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(0, 3), st.sampled_from(["pk", "pk_local", "random_identity"]))
def test_every_identity_is_in_every_epoch(counts: list[int], epoch: int, kind: str) -> None:
    plan = sampler(counts, kind=kind)
    plan.set_epoch(epoch)
    shown = {int(plan.labels[key.image]) for batch in batches(plan) for key in batch}
    assert shown == set(range(len(counts)))


def test_an_epoch_is_as_long_as_its_kind_says() -> None:
    counts = [2] * 20 + [100] * 4
    assert len(sampler(counts)) == 440 // 32
    assert len(sampler(counts, kind="shuffle")) == 440 // 32
    assert len(sampler(counts, kind="random_identity")) == 24 // 8
    assert len(sampler([1] * 20)) == 3, "20 identities want three batches of 8, though there are 20 images only"


def test_rare_identities_count_like_frequent_ones() -> None:
    plan = sampler([4] * 16 + [200] * 8, kind="random_identity")
    shown = plan.labels[[key.image for batch in batches(plan) for key in batch]]
    assert np.bincount(shown).tolist() == [4] * 24


def test_images_that_would_repeat_are_left_out_first() -> None:
    """Of 5 images in groups of 4, the second group would show three again; there is room for one group each."""
    plan = sampler([5] * 16 + [16] * 4)
    shown = np.bincount([key.image for batch in batches(plan) for key in batch], minlength=len(plan.labels))
    assert shown.max() == 1


def test_no_identity_is_in_a_batch_twice_where_that_can_be_helped() -> None:
    plan = sampler([5] * 60 + [40] * 4)
    for batch in batches(plan):
        labels = plan.labels[[key.image for key in batch]]
        assert np.unique(labels, return_counts=True)[1].tolist() == [4] * 8


@settings(max_examples=20, deadline=None)
@given(COUNTS, st.sampled_from(["pk", "pk_local", "random_identity", "shuffle"]), st.integers(0, 3))
def test_the_workers_slices_are_the_plan(counts: list[int], kind: str, epoch: int) -> None:
    whole = sampler(counts, kind=kind)
    whole.set_epoch(epoch)
    planned = batches(whole)
    for workers in (1, 2, 3, 4, 8):
        slices = []
        for rank in range(workers):
            mine = sampler(counts, rank=rank, world_size=workers, kind=kind)
            mine.set_epoch(epoch)
            slices.append(list(mine))
        assert [list(chain(*parts)) for parts in zip(*slices, strict=True)] == planned


@settings(max_examples=20, deadline=None)
@given(COUNTS, st.data())
def test_resuming_anywhere_gives_the_rest_of_the_plan(counts: list[int], data: st.DataObject) -> None:
    first = sampler(counts)
    first.set_epoch(2)
    planned = list(first)
    batch = data.draw(st.integers(0, len(planned)))
    resumed = sampler(counts)
    resumed.load_state_dict({"epoch": 2, "batch": batch})
    assert list(resumed) == planned[batch:]
    assert len(resumed) == len(planned), "the length is the epoch's, wherever it is entered"


def test_epochs_and_seeds_differ_and_repeat() -> None:
    one, again, other = sampler([6] * 20), sampler([6] * 20), sampler([6] * 20, seed=1)
    assert batches(one) == batches(again)
    assert batches(one) != batches(other)
    again.set_epoch(1)
    assert batches(one) != batches(again)


def test_every_place_of_an_epoch_has_its_own_augmentation() -> None:
    seeds = [key.seed for batch in batches(sampler([20] * 40)) for key in batch]
    assert len(set(seeds)) == len(seeds)


def test_an_epoch_shows_every_image_once_where_identities_divide() -> None:
    plan = sampler([8] * 32)
    shown = [key.image for batch in batches(plan) for key in batch]
    assert sorted(shown) == list(range(256))


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(ConfigError, match=r"from 1 to 8"):
        sampler([5] * 20, world_size=9)
    with pytest.raises(ConfigError, match=r"wants\s+8\s+identities; the data set has 3"):
        sampler([5] * 3)
    with pytest.raises(ConfigError, match=r"32 is not a multiple of data.num_instances 5"):
        PKBatchSampler(np.zeros(9, np.int64), 32, num_instances=5, seed=0)
    with pytest.raises(DataError, match=r"no images"):
        sampler([])


def test_an_image_is_augmented_otherwise_in_every_epoch() -> None:
    plan = sampler([6] * 12)
    seeds = []
    for epoch in (0, 1):
        plan.set_epoch(epoch)
        seeds.append({key.seed for batch in batches(plan) for key in batch})
    assert not seeds[0] & seeds[1]


def test_one_sampler_plans_every_epoch_as_a_fresh_one_does() -> None:
    walked = sampler([8] * 16)
    for epoch in (0, 1, 3, 1):
        walked.set_epoch(epoch)
        fresh = sampler([8] * 16)
        fresh.set_epoch(epoch)
        assert batches(walked) == batches(fresh)


def test_the_seed_of_a_sample_is_that_of_its_run_epoch_and_place() -> None:
    plan = sampler([8] * 16, seed=5)
    plan.set_epoch(3)
    found = [key.seed for batch in batches(plan) for key in batch]
    assert found == [mixed_seed(5, 3, place) for place in range(len(found))]


def test_seeds_are_mixed_as_splitmix64_publishes() -> None:
    """The generator's first outputs for the seed 0 (Steele et al. 2014), without their lowest bit."""
    assert mixed_seed(1, 0, 0) == 0xE220A8397B1DCDAF >> 1
    assert mixed_seed(2, 0, 0) == 0x6E789E6AA1B965F4 >> 1
    step, mask = 0xBF58476D1CE4E5B9, 2**64 - 1
    assert mixed_seed(0, 1, 0) == mixed_seed(0, 0, step & mask)
    assert mixed_seed(7, 3, 11) == mixed_seed(7, 0, (3 * step + 11) & mask)


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_no_worker_takes_more_than_one_identity_more_than_another(world_size: int) -> None:
    parts = [sampler([8] * 16, rank=rank, world_size=world_size) for rank in range(world_size)]
    taken = [len(next(iter(part))) for part in parts]
    assert sum(taken) == 32
    assert max(taken) - min(taken) <= 4


def test_fewer_images_than_a_batch_make_one_batch() -> None:
    assert len(sampler([1] * 20, kind="shuffle")) == 1
    assert len(batches(sampler([1] * 20, kind="shuffle"))[0]) == 32


def test_frequent_and_rare_identities_are_spread_over_the_epoch() -> None:
    """Neither kind fills the beginning or the end: each has about half of its groups in the first half."""
    frequent = 4
    plan = sampler([160] * frequent + [1] * 160)
    identities = np.array([plan.labels[[key.image for key in batch[::4]]] for batch in batches(plan)])
    half = len(identities) // 2
    for kind in (identities < frequent, identities >= frequent):
        assert 0.4 <= kind[:half].sum() / kind.sum() <= 0.6


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_one_identity_that_meet_are_parted(seed: int) -> None:
    """As many groups as batches: by chance alone two of them would meet in a batch."""
    plan = sampler([4] * 48 + [40] * 4, seed=seed)
    for batch in batches(plan):
        labels = plan.labels[[key.image for key in batch]]
        assert np.unique(labels, return_counts=True)[1].tolist() == [4] * 8


def test_a_batch_without_a_stated_size_is_sixteen_identities_of_four_images() -> None:
    labels = np.repeat(np.arange(20), 8)
    plain = PKBatchSampler(labels)
    stated = PKBatchSampler(labels, 64, num_instances=4, seed=0, rank=0, world_size=1)
    assert list(plain) == list(stated)
    assert len(PKBatchSampler(labels, num_identities=8).global_batch(0)) == 32
    assert len(PKBatchSampler(labels, 32, num_identities=8).global_batch(0)) == 32
    with pytest.raises(ConfigError, match="30 is not num_identities 8 × num_instances 4"):
        PKBatchSampler(labels, 30, num_identities=8)
    built = build_batch_sampler(DataConfig(batch_size=32, num_instances=4), labels, seed=0)
    assert list(built) == list(PKBatchSampler(labels, 32))


def test_images_that_need_not_stay_together_are_shared_out_one_by_one() -> None:
    parts = [sampler([8] * 16, rank=rank, world_size=3, kind="shuffle") for rank in range(3)]
    assert [len(next(iter(part))) for part in parts] == [11, 11, 10]
    assert slice_of(2, 3, 32) == slice(22, 32)


class _Extreme(np.random.Generator):
    """Draws the largest and the smallest fraction by turns."""

    def random(self, count: int) -> np.ndarray:  # type: ignore[override]
        return np.where(np.arange(count) % 2 == 0, 1 - 2**-53, 0)


def test_no_draw_takes_an_image_to_another_identity() -> None:
    plan = sampler([3] * 40, kind="random_identity")
    images = plan._plan(_Extreme(np.random.PCG64(0))).reshape(-1, 4)
    assert (plan.labels[images] == plan.labels[images[:, :1]]).all()


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_local_plan_has_the_batches_of_another_order_and_keeps_each_worker_to_its_stretch(epoch: int) -> None:
    counts = [8] * 400
    plain, local = sampler(counts), sampler(counts, kind="pk_local", world_size=4, rank=1)
    for plan in (plain, local):
        plan.set_epoch(epoch)
    assert [sorted(batch) for batch in local.epoch_plan().tolist()] == [
        sorted(batch) for batch in plain.epoch_plan().tolist()
    ]

    def share_of_images(plan: BatchSampler) -> float:
        slices = plan.epoch_plan()[:, slice_of(1, 4, 8, 4)]
        return float(np.ptp(np.quantile(slices, (0.02, 0.98)))) / len(plan.labels)

    assert share_of_images(local) < 0.75 < share_of_images(plain)
