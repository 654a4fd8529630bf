"""Scores of pairs: what they are, that they stream, and that shards add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from oaml_core.errors import EvaluationError
from oaml_core.evaluation.scoring.conditions import CLEAN, Condition
from oaml_core.evaluation.scoring.face_features import DescribedOnce, face_features, fuse_by_norm
from oaml_core.evaluation.scoring.global_alone import score_global
from oaml_core.evaluation.scoring.scores import score_conditions, score_pairs
from oaml_core.models.modes import evaluating


def test_global_score_fuses_image_and_mirror_image_by_their_norms(model, pairs):
    scores = score_pairs(model, pairs.images[:8], batch_size=4)

    model.eval()
    images = torch.from_numpy(pairs.images[:8]).permute(0, 3, 1, 2)
    with torch.no_grad():
        plain, mirrored = model(images), model(images.flip(-1))
    fused = normalize(plain.embedding * plain.norm + mirrored.embedding * mirrored.norm, dim=1)
    np.testing.assert_allclose(scores.global_score, (fused[0::2] * fused[1::2]).sum(1), atol=1e-6)


def test_fusion_trusts_the_longer_embedding():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    fused = fuse_by_norm(a, torch.tensor([[3.0]]), b, torch.tensor([[4.0]]))
    torch.testing.assert_close(fused, torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("batch_size", [1, 6, 64, 1000])
def test_scores_do_not_depend_on_the_batch_size(model, pairs, batch_size):
    reference = score_pairs(model, pairs.images, batch_size=16)
    found = score_pairs(model, pairs.images, batch_size=batch_size)
    np.testing.assert_allclose(found.global_score, reference.global_score, atol=1e-6)
    np.testing.assert_allclose(found.local_score, reference.local_score, rtol=1e-5)


@pytest.mark.parametrize("world_size", [2, 3, 90])
def test_shares_of_ranks_add_up_to_the_whole_set(model, pairs, world_size):
    shares = np.array_split(np.arange(len(pairs.issame)), world_size)
    scored = [score_pairs(model, pairs.images, pairs=share) for share in shares]

    reference = score_pairs(model, pairs.images)
    for field in ("global_score", "local_score", "visible_share"):
        whole = np.concatenate([getattr(share, field) for share in scored])
        np.testing.assert_allclose(whole, getattr(reference, field), rtol=1e-5, atol=1e-6)


def test_training_state_is_left_as_it_was(model, pairs):
    model.train()
    model.matcher.eval()
    before = model.batch_norm.running_mean.clone()

    score_pairs(model, pairs.images[:8])

    assert model.training
    assert model.batch_norm.training
    assert not model.matcher.training
    torch.testing.assert_close(model.batch_norm.running_mean, before)


def test_pairs_can_be_chosen_by_number(model, pairs):
    some = score_pairs(model, pairs.images, pairs=np.array([7, 2]))
    everything = score_pairs(model, pairs.images)
    np.testing.assert_allclose(some.local_score, everything.local_score[[7, 2]], rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "chosen", "message"),
    [
        (np.zeros((3, 112, 112, 3), np.uint8), None, "two rows per pair"),
        (np.zeros((4, 3, 112, 112), np.uint8), None, "height, width, 3"),
        (np.zeros((4, 112, 112, 3), np.float32), None, "float32"),
        (np.zeros((4, 112, 112, 3), np.uint8), np.array([0, 2]), "Pair 2 was asked for"),
    ],
)
def test_images_that_are_no_pairs_are_refused(model, images, chosen, message):
    with pytest.raises(EvaluationError, match=message):
        score_pairs(model, images, pairs=chosen)


def test_covered_faces_score_lower_and_their_maps_are_judged(model, pairs):
    found = score_conditions(model, pairs.images, [CLEAN, Condition("blocks", "blocks")], batch_size=32)
    clean, covered = found["clean"], found["blocks"]

    assert clean.covered_share.max() == 0
    assert covered.covered_share.min() > 0
    genuine = pairs.issame
    assert covered.global_score[genuine].mean() < clean.global_score[genuine].mean()
    assert (covered.hidden_intersection <= covered.hidden_union).all()


def test_what_is_drawn_depends_on_the_pair_alone(model, pairs):
    condition = Condition("surgical", "surgical")
    together = score_conditions(model, pairs.images, [condition])["surgical"]
    apart = score_conditions(model, pairs.images, [condition], batch_size=3, pairs=np.array([31]))["surgical"]
    assert apart.covered_share[0] == together.covered_share[31]
    assert len(set(together.covered_share.tolist())) > 40


def test_images_without_landmarks_are_covered_where_the_template_has_them(model, pairs):
    condition = Condition("surgical", "surgical")
    unknown = np.full((len(pairs.images), 5, 2), np.nan, np.float32)
    with_nan = score_conditions(model, pairs.images, [condition], landmarks=unknown)["surgical"]
    without = score_conditions(model, pairs.images, [condition])["surgical"]
    np.testing.assert_array_equal(with_nan.covered_share, without.covered_share)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_scores_of_the_cpu(model, pairs):
    reference = score_conditions(model, pairs.images, [CLEAN, Condition("surgical", "surgical")])
    found = score_conditions(
        model.cuda(), pairs.images, [CLEAN, Condition("surgical", "surgical")], device="cuda", batch_size=64
    )
    for name, scores in reference.items():
        for field in scores._fields:
            np.testing.assert_allclose(getattr(found[name], field), getattr(scores, field), rtol=1e-4, atol=1e-5)


def test_an_uncovered_image_of_many_pairs_passes_through_the_model_once(model, pairs, monkeypatch):
    rows = np.array([0, 1, 0, 2, 1, 3, 2, 0, 3, 3])
    seen: list[int] = []
    monkeypatch.setattr(
        model, "forward", lambda images, forward=model.forward: seen.append(len(images)) or forward(images)
    )

    conditions = [CLEAN, Condition("blocks", block_share=0.3)]
    found = score_conditions(model, pairs.images[rows], conditions, batch_size=4)

    # With its mirror image each; every covered image is a drawing of its own.
    assert sum(seen) == 2 * (4 + len(rows) // 2)
    alone = [score_conditions(model, pairs.images[rows], [condition], batch_size=1000) for condition in conditions]
    for scores in alone:
        for name, expected in scores.items():
            np.testing.assert_allclose(found[name].global_score, expected.global_score, atol=1e-6)
            np.testing.assert_allclose(found[name].local_score, expected.local_score, rtol=1e-5)


def test_features_that_do_not_fit_are_described_again(model, pairs):
    images = torch.from_numpy(pairs.images[:4]).permute(0, 3, 1, 2)
    with evaluating(model), torch.inference_mode():
        one = sum(part[:1].nbytes for part in face_features(model, images, "cpu"))
        kept = DescribedOnce(model, "cpu", limit=2 * one)
        first = kept.of(images)
        again = kept.of(images[[3, 0, 3]])

        assert kept.bytes == 2 * one
        torch.testing.assert_close(again.embedding, first.embedding[[3, 0, 3]])
        assert DescribedOnce(model, "cpu", limit=one - 1).of(images).norm.shape == (4,)


def test_progress_is_told_in_a_log_too(model, pairs, monkeypatch, caplog):
    monkeypatch.setattr("oaml_core.progress.SECONDS_BETWEEN_LINES", -1.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    with caplog.at_level("INFO"):
        score_conditions(model, pairs.images[:8], [CLEAN], batch_size=4, progress="faces")
        score_global(lambda images: np.ones((len(images), 2), np.float32), pairs.images[:8], [CLEAN], progress="others")
    assert "faces, batches of pairs: 1 of 2" in caplog.text
    assert "others, batches of pairs: 0 of 1" in caplog.text
