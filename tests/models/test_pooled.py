"""Pooled matching: the embedding of what both faces show."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from oaml_core.config import ModelConfig
from oaml_core.errors import ConfigError
from oaml_core.export.onnx_graph import local_features
from oaml_core.models.backbone import Backbone
from oaml_core.models.build import build_backbone
from oaml_core.models.features import Features
from oaml_core.models.pooled import Pooled, PooledAlone
from oaml_core.models.pooled_start import start_from
from oaml_core.models.recogniser import build_recogniser


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def matcher():
    torch.manual_seed(0)
    matcher = Pooled(8, (3, 4), embedding_size=5)
    matcher.mean.copy_(drawn(12, 5, seed=9))
    with torch.no_grad():  # so that scores depend on the share that both show
        matcher.scale.copy_(torch.tensor([12.0, 3.0]))
        matcher.shift.copy_(torch.tensor([-4.0, 1.0]))
    return matcher.eval()


def by_definition(matcher, maps, other, v, u):
    """The score of one pair, as the docstring says it, place by place."""

    def embedding(f):
        z = matcher.offset + matcher.mean.sum(0)
        for s in range(12):
            g = matcher.projection @ (matcher.weight[:, s] * f.flatten(1)[:, s])
            z = z + v.flatten()[s] * u.flatten()[s] * (g - matcher.mean[s])
        return z

    n = (v * u).mean()
    cosine = cosine_similarity(embedding(maps), embedding(other), dim=0)
    return float((matcher.scale[0] + matcher.scale[1] * n) * cosine + matcher.shift[0] + matcher.shift[1] * n)


def test_scores_are_those_of_the_formula(matcher):
    maps, others = drawn(3, 8, 3, 4), drawn(4, 8, 3, 4, seed=1)
    v, u = drawn(3, 1, 3, 4, seed=2), drawn(4, 1, 3, 4, seed=3)

    scores = matcher.match(maps, others, v, u)

    expected = [
        [by_definition(matcher, a, b, p, q) for b, q in zip(others, u, strict=True)]
        for a, p in zip(maps, v, strict=True)
    ]
    torch.testing.assert_close(scores.detach(), torch.tensor(expected))
    torch.testing.assert_close(matcher.match_pairs(maps, others[:3], v, u[:3]), scores[:, :3].diagonal())
    with torch.no_grad():
        torch.testing.assert_close(matcher.match(maps, others, v, u), scores, msg="without gradient")


def test_a_single_face_is_embedded_by_the_formula(matcher):
    maps, v = drawn(2, 8, 3, 4), drawn(2, 1, 3, 4, seed=2)
    v[0, 0, 0, 0] = 0
    for face, visibility, found in zip(maps, v, matcher.embed(maps, v), strict=True):
        z = matcher.offset + matcher.mean.sum(0)
        for s, share in enumerate(visibility.flatten()):
            z = z + share * (matcher.projection @ (matcher.weight[:, s] * face.flatten(1)[:, s]) - matcher.mean[s])
        torch.testing.assert_close(found, z / z.norm())


@pytest.mark.parametrize(("kind", "lengths_matter"), [("pooled", True), ("pooled_alone", True), ("qaconv", False)])
def test_exported_maps_keep_lengths_that_matter(kind, lengths_matter):
    recogniser = build_recogniser(ModelConfig(arch="ir_mini", width=4, matcher=kind)).eval()
    maps = 3 * drawn(2, recogniser.backbone.channels, *recogniser.backbone.map_size) + 1
    features = Features(maps, drawn(2, 4), drawn(2, 1), drawn(2, 1, *recogniser.backbone.map_size))
    found = local_features(recogniser, features)
    torch.testing.assert_close(found.norm(dim=1), maps.norm(dim=1) if lengths_matter else torch.ones_like(maps[:, 0]))


def test_candidates_do_not_move_the_mean_face():
    matcher = Pooled(8, (3, 4), embedding_size=5).train()
    maps = drawn(3, 8, 3, 4)
    matcher.match_candidates(maps, 1e3 * drawn(6, 8, 3, 4, seed=1), torch.tensor([[5, 0], [1, 2], [3, 3]]))
    torch.testing.assert_close(matcher.mean, matcher.contributions(maps.flatten(2)).mean(0).detach())


def test_candidates_are_wholly_visible(matcher):
    maps, others, v = drawn(3, 8, 3, 4), drawn(6, 8, 3, 4, seed=1), drawn(3, 1, 3, 4, seed=2)
    chosen = torch.tensor([[5, 0], [1, 2], [3, 3]])
    torch.testing.assert_close(
        matcher.match_candidates(maps, others, chosen, v), matcher.match(maps, others, v).gather(1, chosen)
    )


def test_what_one_face_hides_does_not_matter(matcher):
    a, b = drawn(1, 8, 3, 4), drawn(1, 8, 3, 4, seed=1)
    v = torch.ones(1, 1, 3, 4)
    v[..., 2, :] = 0
    before = matcher.match(a, b, v)
    a[..., 2, :] += 5
    b[..., 2, :] -= 5
    torch.testing.assert_close(matcher.match(a, b, v), before)
    assert not torch.allclose(matcher.match(a, b), before)


def test_faces_may_be_compared_with_themselves_under_other_cover(matcher):
    maps, v, u = drawn(3, 8, 3, 4), drawn(3, 1, 3, 4, seed=2), drawn(3, 1, 3, 4, seed=3)
    torch.testing.assert_close(matcher.match(maps, maps, v, u), matcher.match(maps, maps.clone(), v, u))


@pytest.mark.parametrize("kind", [Pooled, PooledAlone])
def test_pairs_move_the_mean_face_by_their_probes_alone(kind):
    torch.manual_seed(0)
    pairs, probes = kind(8, (3, 4), embedding_size=5).train(), kind(8, (3, 4), embedding_size=5).train()
    probes.load_state_dict(pairs.state_dict())
    maps, others, v = drawn(3, 8, 3, 4), drawn(3, 8, 3, 4, seed=1), drawn(3, 1, 3, 4, seed=2)
    pairs.match_pairs(maps, others, v, v)
    probes.match_pairs(maps, maps, v, v)
    assert int(pairs.batches) == 1
    torch.testing.assert_close(pairs.mean, probes.mean)


def test_mean_face_is_that_of_visible_places():
    matcher = Pooled(8, (3, 4), embedding_size=5).train()
    maps, v = drawn(6, 8, 3, 4), torch.ones(6, 1, 3, 4)
    v[:3, :, 0, 0] = 0
    maps[:3, :, 0, 0] = 1e3
    matcher.match(maps, maps, v, v)
    expected = matcher.contributions(maps.flatten(2))
    torch.testing.assert_close(matcher.mean[1:], expected.mean(0)[1:])
    torch.testing.assert_close(matcher.mean[0], expected[3:, 0].mean(0))


def test_a_place_that_hardly_shows_still_has_the_mean_of_what_it_shows():
    matcher = Pooled(8, (3, 4), embedding_size=5).train()
    maps, v = drawn(6, 8, 3, 4), torch.full((6, 1, 3, 4), 0.001)
    matcher.match(maps, maps, v, v)
    torch.testing.assert_close(matcher.mean, matcher.contributions(maps.flatten(2)).mean(0).detach())


def test_mean_face_is_the_probes_and_follows_later_batches_by_a_tenth():
    matcher = Pooled(8, (3, 4), embedding_size=5).train()
    v = torch.ones(6, 1, 3, 4)
    v[..., 0, 0] = 0
    expected = torch.zeros(12, 5)
    for number in range(1, 13):
        maps = drawn(6, 8, 3, 4, seed=number)
        matcher.match(maps, 1e3 * maps, v, torch.ones(6, 1, 3, 4))
        found = matcher.contributions(maps.flatten(2)).mean(0)
        expected[1:] += max(1 / number, 0.1) * (found - expected)[1:]
    torch.testing.assert_close(matcher.mean, expected.detach())  # the first place was never seen


@pytest.mark.parametrize("kind", [Pooled, PooledAlone])
def test_without_maps_every_place_is_visible(kind):
    torch.manual_seed(0)
    matcher = kind(8, (3, 4), embedding_size=5).eval()
    maps, others, v = drawn(3, 8, 3, 4), drawn(4, 8, 3, 4, seed=1), torch.ones(4, 1, 3, 4)
    torch.testing.assert_close(matcher.match(maps, others), matcher.match(maps, others, v[:3], v))
    hidden = 0.5 * v[:3]
    torch.testing.assert_close(matcher.match(maps, maps, hidden, v[:3]).T, matcher.match(maps, maps, v[:3], hidden))


@pytest.mark.parametrize("per_place", [False, True])
def test_places_start_with_contributions_of_one_size_whatever_the_channels(per_place):
    torch.manual_seed(0)
    for channels in (16, 64):
        matcher = Pooled(channels, (3, 4), embedding_size=256, per_place=per_place)
        spread = matcher.contributions(torch.randn(20, channels, 12)).std()
        assert float(spread) == pytest.approx(1 / 12, rel=0.05)


@pytest.mark.parametrize("arch", ["mobilefacenet", "ir_mini", "ir_18"])
def test_wholly_visible_faces_are_compared_by_the_backbones_embedding(arch):
    torch.manual_seed(0)
    backbone = build_backbone(arch).eval()
    for name, buffer in backbone.named_buffers():
        if buffer.is_floating_point() and not name.startswith(("body", "features", "input")):
            buffer.uniform_(0.5, 1.5)
    matcher = start_from(backbone).eval()
    with torch.no_grad():
        found = backbone(2 * drawn(4, 3, 112, 112) - 1)
        scores = matcher.match(found.feature_map, found.feature_map)
        embeddings = matcher.embed(found.feature_map, torch.ones(4, 1, 7, 7))
    torch.testing.assert_close(embeddings, found.embedding, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores, 20 * found.embedding @ found.embedding.T - 8, atol=1e-3, rtol=1e-4)


def test_local_layers_start_as_the_backbones_and_leave_its_embedding_alone():
    torch.manual_seed(0)
    shared = build_recogniser(ModelConfig(arch="ir_mini", width=8)).eval()
    own = build_recogniser(ModelConfig(arch="ir_mini", width=8, local_layers=2)).eval()
    own.load_state_dict(shared.state_dict(), strict=False)
    own.local_layers.load_state_dict(torch.nn.Sequential(*shared.backbone.layers()[-2:]).state_dict())
    images = drawn(2, 3, 112, 112)
    before = own(images)
    torch.testing.assert_close(before.feature_map, shared(images).feature_map)

    with torch.no_grad():
        for parameter in own.local_layers.parameters():
            parameter.mul_(1.5)

    after = own(images)
    torch.testing.assert_close(after.embedding, before.embedding)
    assert not torch.allclose(after.feature_map, before.feature_map)


def test_a_frozen_backbone_stays_as_it_is_while_the_rest_learns():
    torch.manual_seed(0)
    config = ModelConfig(arch="mobilefacenet", local_layers=2, matcher="pooled", freeze_backbone=True)
    model = build_recogniser(config).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    found = model(drawn(4, 3, 112, 112))
    scores = model.matcher.match(found.feature_map, found.feature_map, found.visibility, found.visibility)
    (scores.square().mean() + found.visibility.square().mean()).backward()
    optimiser.step()
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"local_layers", "matcher", "visibility_head"}


def test_more_local_layers_than_the_backbone_has_are_refused():
    with pytest.raises(ConfigError, match=r"model\.local_layers is 5; this backbone has 5 layers"):
        build_recogniser(ModelConfig(arch="ir_mini", width=8, local_layers=5))


def test_a_backbone_with_another_embedding_layer_is_refused():
    class Other(Backbone):
        def layers(self):
            return []

        def embed(self, feature_map):
            return feature_map

    with pytest.raises(ConfigError, match=r"model\.matcher pooled starts from .*Other has another kind"):
        start_from(Other(channels=8, embedding_size=4, image_size=112))


@pytest.fixture
def alone():
    torch.manual_seed(0)
    matcher = PooledAlone(8, (3, 4), embedding_size=5)
    matcher.mean.copy_(drawn(12, 5, seed=9))
    return matcher.eval()


def test_faces_pooled_alone_are_compared_by_the_cosine_of_their_own_embeddings(alone):
    maps, others = drawn(3, 8, 3, 4), drawn(4, 8, 3, 4, seed=1)
    v, u = drawn(3, 1, 3, 4, seed=2), drawn(4, 1, 3, 4, seed=3)

    def embedding(f, visibility):
        z = alone.offset + alone.mean.sum(0)
        for s in range(12):
            g = alone.projection @ (alone.weight[:, s] * f.flatten(1)[:, s])
            z = z + (0.5 + 0.5 * visibility.flatten()[s]) * (g - alone.mean[s])
        return z / z.norm()

    one = torch.stack([embedding(f, w) for f, w in zip(maps, v, strict=True)])
    other = torch.stack([embedding(f, w) for f, w in zip(others, u, strict=True)])
    scores = alone.match(maps, others, v, u)

    torch.testing.assert_close(scores, 20 * one @ other.T - 8)
    torch.testing.assert_close(alone.match_pairs(maps, others[:3], v, u[:3]), scores[:, :3].diagonal())
    torch.testing.assert_close(alone.embed(maps, v), one)
    chosen = torch.tensor([[3, 0], [1, 2], [2, 2]])
    torch.testing.assert_close(
        alone.match_candidates(maps, others, chosen, v), alone.match(maps, others, v).gather(1, chosen)
    )
    with torch.no_grad():
        torch.testing.assert_close(alone.match(maps, others, v, u), scores, msg="without gradient")


def test_strangers_do_not_grow_alike_by_what_one_of_them_hides():
    """Of a pair that shares a twelfth of its places, `Pooled` keeps little but the mean face that all share."""
    torch.manual_seed(0)
    both = {}
    for kind in (Pooled, PooledAlone):
        torch.manual_seed(0)
        matcher = kind(8, (3, 4), embedding_size=16).eval()
        matcher.mean.copy_(0.3 * drawn(12, 16, seed=9))
        maps, others = drawn(40, 8, 3, 4), drawn(40, 8, 3, 4, seed=1)
        hidden = torch.zeros(40, 1, 3, 4)
        hidden[..., 0, 0] = 1
        uncovered = matcher.match(maps, others)
        covered = matcher.match(maps, others, None, hidden)
        both[kind] = float((covered.mean() - uncovered.mean()) / uncovered.std())
    assert both[PooledAlone] < both[Pooled] / 2
