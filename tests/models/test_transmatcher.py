"""TransMatcher: the published scores, its affinity of places, the memory that training takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oaml_core.models.transmatcher import TransMatcher
from oaml_core.models.transmatcher_layers import Decoder, DecoderLayer, EncoderLayer

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "transmatcher.npz")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


class DecoderAlone(TransMatcher):
    """Given what an encoder would give: the channels of a map are its three stages."""

    def _stages(self, maps: Tensor, visibility: Tensor | None) -> list[Tensor]:
        return list(maps.transpose(1, 2).chunk(3, -1))


def published() -> DecoderAlone:
    matcher = DecoderAlone(48, (5, 4))
    matcher.decoder = Decoder(20, 16, 24, 3)
    state = {name.removeprefix("state."): torch.from_numpy(REFERENCE[name]) for name in REFERENCE if "state." in name}
    # The published state has a layer more that it copies its layers from and never uses.
    state = {name: value for name, value in state.items() if not name.startswith("decoder_layer.")}
    found = matcher.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith("encoder.") for name in found.missing_keys)
    return matcher.eval()


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gradient", [False, True])
def test_evaluation_scores_are_the_published_ones(gradient: bool) -> None:
    probe, gallery = (torch.from_numpy(REFERENCE[name]).permute(0, 3, 1, 2) for name in ("probe", "gallery"))
    expected = REFERENCE["score_gallery_by_probe"].T
    matcher = published()
    with torch.set_grad_enabled(gradient):
        np.testing.assert_allclose(matcher.match(probe, gallery).detach().numpy(), expected, **CLOSE)
        pairs = matcher.match_pairs(probe[:3], gallery).detach().numpy()
        candidates = torch.tensor([[2, 0], [1, 1], [0, 2], [2, 1]])
        chosen = matcher.match_candidates(probe, gallery, candidates).detach().numpy()
    np.testing.assert_allclose(pairs, expected[:3].diagonal(), **CLOSE)
    np.testing.assert_allclose(chosen, np.take_along_axis(expected, candidates.numpy(), 1), **CLOSE)


def plain_layer(layer: DecoderLayer, probe: Tensor, gallery: Tensor) -> Tensor:
    """The published formula of one layer, all correlations and hidden activations at once."""
    query, key = layer.fc1(probe), layer.fc1(gallery)
    c = torch.einsum("psd,grd->pgsr", query, key) * layer.score_embed.sigmoid()
    x = torch.cat([c.amax(3), c.amax(2)], -1).view(-1, 1, c.shape[-1])
    hidden = layer.bn2(layer.fc2(layer.bn1(x)[:, 0])).relu()
    return layer.bn3(layer.fc3(hidden).view(-1, 2).sum(1, keepdim=True)).view(len(probe), len(gallery))


def test_training_scores_statistics_and_gradients_are_those_of_the_published_formula(monkeypatch) -> None:
    """Although hidden activations exist for a few pairs at a time, and correlations for none in the backward pass."""
    monkeypatch.setattr("oaml_core.models.transmatcher_layers.block_bytes", lambda device: 24 * 4 * 5)
    probe, gallery = drawn(0, 4, 48, 5, 4).double(), drawn(1, 3, 48, 5, 4).double()
    outcomes = []
    for plainly in (False, True):
        matcher = published().double().train()
        inputs = probe.clone().requires_grad_(), gallery.clone().requires_grad_()
        if plainly:
            stages = zip(matcher.decoder, *(matcher._stages(x.flatten(2), None) for x in inputs), strict=True)
            scores = matcher.decoder.normalised([plain_layer(layer, p, g) for layer, p, g in stages])
        else:
            scores = matcher.match(*inputs)
        (scores * drawn(2, 4, 3)).sum().backward()
        learnt = {name: p.grad for name, p in matcher.decoder.named_parameters()}
        for name, gradient in learnt.items():
            if name.endswith("score_embed"):
                learnt[name] = (gradient + gradient.mT) / 2  # ours is symmetric by design
        outcomes.append((scores, dict(matcher.decoder.state_dict()), learnt, [x.grad for x in inputs]))
    torch.testing.assert_close(outcomes[0], outcomes[1])


def test_affinity_stays_symmetric_in_training() -> None:
    torch.manual_seed(0)
    matcher = TransMatcher(16, (3, 3))
    optimiser = torch.optim.SGD(matcher.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for seed in range(3):
        matcher.match(drawn(seed, 4, 16, 3, 3), drawn(seed + 9, 5, 16, 3, 3)).square().mean().backward()
        optimiser.step()
    for layer in matcher.decoder:
        assert layer.score_embed.grad is not None
        assert layer.score_embed.grad.abs().max() > 0
        torch.testing.assert_close(layer.score_embed, layer.score_embed.mT)


def test_a_place_is_attended_to_in_proportion_to_its_visibility() -> None:
    torch.manual_seed(0)
    layer, x = EncoderLayer(8, 16).double(), drawn(0, 1, 6, 8).double()
    twice = torch.cat([x, x[:, :1]], 1)  # a place that is there twice counts like one twice as visible as the others
    half = torch.full((1, 6), 0.5).double()
    half[0, 0] = 1
    torch.testing.assert_close(layer(x, half), layer(twice, None)[:, :6])
    assert layer(x, torch.zeros_like(half)).isfinite().all()


def test_training_keeps_neither_correlations_nor_hidden_activations() -> None:
    torch.manual_seed(0)
    matcher = TransMatcher(64, (7, 7), num_layers=1)

    def bytes_kept(count: int) -> int:
        kept: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        maps = drawn(0, count, 64, 7, 7).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            matcher.match(maps, maps)
        return sum(kept.values())

    a_pair = (bytes_kept(32) - 2 * bytes_kept(16)) / (32**2 - 2 * 16**2)
    correlations, hidden = 4 * 49 * 49, 2 * 4 * 256
    assert a_pair < min(correlations, hidden)


def test_maps_with_more_channels_are_projected() -> None:
    torch.manual_seed(0)
    scores = TransMatcher(2048, (2, 2), num_layers=2).eval().match(drawn(0, 2, 2048, 2, 2), drawn(1, 3, 2048, 2, 2))
    assert scores.shape == (2, 3)
    assert scores.isfinite().all()
