"""A visibility map finer than the feature map: where it is used, and that thin things show in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.config import Config, ModelConfig
from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.export.onnx_export import export_onnx
from oaml_core.inference.compared_pair import drawable_pair
from oaml_core.inference.gallery.packing import pack_record, unpack_records
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.losses.visibility import visibility_loss
from oaml_core.models.pooled import PooledAlone
from oaml_core.models.recogniser import Recogniser, build_recogniser
from oaml_core.models.visibility import EarlyVisibilityHead, FineVisibilityHead, visible_alone
from oaml_core.photos.quality import visible_points
from oaml_core.visibility import resize_visibility

MODEL = ModelConfig(arch="mobilefacenet", local_layers=17, matcher="pooled_alone", visibility_map="fine")


@pytest.fixture(params=["fine", "early"])
def model(request: pytest.FixtureRequest) -> ModelConfig:
    return replace(MODEL, visibility_map=request.param)


@pytest.fixture
def recogniser(model: ModelConfig) -> Recogniser:
    torch.manual_seed(0)
    return build_recogniser(model).eval()


def faces(count: int) -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def test_the_map_has_the_places_that_the_local_layers_take(recogniser: Recogniser) -> None:
    with torch.no_grad():
        found = recogniser(torch.from_numpy(faces(2)).permute(0, 3, 1, 2))
    assert found.visibility.shape == (2, 1, 28, 28)
    assert found.feature_map.shape == (2, 512, 7, 7)
    assert ((found.visibility >= 0) & (found.visibility <= 1)).all()


def test_matching_takes_its_mean_over_each_place_of_the_feature_map() -> None:
    torch.manual_seed(0)
    matcher = PooledAlone(channels=8, map_size=(7, 7), embedding_size=16).eval()
    maps, fine = torch.randn(3, 8, 7, 7), torch.rand(3, 1, 28, 28)
    coarse = resize_visibility(fine, (7, 7))
    torch.testing.assert_close(matcher.match(maps, maps, fine, fine), matcher.match(maps, maps, coarse, coarse))
    torch.testing.assert_close(
        matcher.match_pairs(maps, maps, fine, fine), matcher.match(maps, maps, fine, fine).diag()
    )
    torch.testing.assert_close(matcher.describe(maps, fine), matcher.describe(maps, coarse))
    assert not torch.allclose(matcher.describe(maps, fine), matcher.describe(maps, torch.ones(3, 1, 7, 7)))


@pytest.mark.parametrize("shape", [(3,), (3, 28, 28), (3, 2, 28, 28), (3, 1, 28, 7), (2, 1, 28, 28)])
def test_what_is_no_finer_map_of_as_many_faces_is_refused_by_its_shape(shape: tuple[int, ...]) -> None:
    matcher = PooledAlone(channels=8, map_size=(7, 7), embedding_size=16).eval()
    maps = torch.randn(3, 8, 7, 7)
    with pytest.raises(ModelInputError, match="visibility maps are"):
        matcher.match(maps, maps, torch.ones(shape), None)


@pytest.mark.parametrize("kind", [FineVisibilityHead, EarlyVisibilityHead])
def test_a_bar_thinner_than_a_place_of_the_feature_map_is_learnt(kind: type[torch.nn.Module]) -> None:
    """Bars of four pixels on maps where only the earlier one shows them."""
    torch.manual_seed(0)
    is_early = kind is EarlyVisibilityHead
    head = kind(4) if is_early else kind(8, 4)
    optimiser = torch.optim.Adam(head.parameters(), 0.01)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        visible = torch.ones(count, 1, 28, 28)
        for image, row in enumerate(torch.randint(0, 28, (count,))):
            visible[image, :, row] = 0
        return torch.randn(count, 8, 7, 7), torch.randn(count, 4, 28, 28) + 5 * (1 - visible), visible

    for _ in range(40):
        deep, earlier, visible = drawn(16)
        optimiser.zero_grad()
        visibility_loss(head(earlier) if is_early else head(deep, earlier), visible).backward()
        optimiser.step()
    deep, earlier, visible = drawn(16)
    with torch.no_grad():
        found = head.eval()(earlier) if is_early else head.eval()(deep, earlier)
    hidden, said = visible < 0.5, found < 0.5
    assert (hidden & said).sum() / (hidden | said).sum() > 0.9


def test_other_maps_than_its_own_are_refused() -> None:
    head = FineVisibilityHead(8, 4)
    with pytest.raises(ModelInputError, match=r"feature maps \[B, 8, h, w\], not \[1, 7, 7, 7\]"):
        head(torch.zeros(1, 7, 7, 7), torch.zeros(1, 4, 28, 28))
    with pytest.raises(ModelInputError, match=r"earlier maps \[B, 4, h, w\], not \[1, 8, 28, 28\]"):
        head(torch.zeros(1, 8, 7, 7), torch.zeros(1, 8, 28, 28))
    with pytest.raises(ModelInputError, match=r"earlier maps \[B, 4, h, w\], not \[1, 8, 28, 28\]"):
        EarlyVisibilityHead(4)(torch.zeros(1, 8, 28, 28))


@pytest.mark.parametrize("change", [{"local_layers": 0}, {"matcher": "pooled"}])
def test_models_that_cannot_have_it_are_refused(change: dict[str, int | str], model: ModelConfig) -> None:
    with pytest.raises(ConfigError, match=rf"model\.visibility_map {model.visibility_map}"):
        Config(model=replace(model, **change))  # type: ignore[arg-type]


def test_exported_it_is_drawn_and_kept_in_a_gallery(tmp_path: Path, model: ModelConfig, recogniser: Recogniser) -> None:
    config = Config(model=model)
    with torch.no_grad():
        for layer in recogniser.visibility_head.modules():  # far from one value everywhere
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.mul_(3)
    export_onnx(recogniser, tmp_path / "model.onnx", config, faces(4))
    exported = OamlOnnx(tmp_path / "model.onnx")

    images = faces(2)
    records = exported.records(images)
    with torch.no_grad():
        expected = recogniser(torch.from_numpy(images).permute(0, 3, 1, 2)).visibility
    np.testing.assert_allclose(records.visibility, expected, atol=1e-4)
    assert np.ptp(records.visibility) > 0.01

    pair = drawable_pair((images[0], images[1]), (records.rows(slice(0, 1)), records.rows(slice(1, 2))))
    assert pair.visibility[0].shape == (28, 28)
    assert pair.grid == (7, 7)
    assert pair.correspondences
    assert all(place < 49 for first, second, _ in pair.correspondences for place in (first, second))

    kept = unpack_records([pack_record(records, 1)])
    np.testing.assert_allclose(kept.visibility[0], records.visibility[1], atol=1 / 255)


def test_hidden_places_hold_the_mean_of_the_visible_ones() -> None:
    maps, visibility = torch.randn(3, 4, 5, 6), torch.ones(3, 1, 5, 6)
    visibility[1, :, :2] = 0
    visibility[2] = 0
    shown = visible_alone(maps, visibility)
    torch.testing.assert_close(shown[0], maps[0])
    torch.testing.assert_close(shown[1, :, 2:], maps[1, :, 2:])
    torch.testing.assert_close(shown[1, :, :2], maps[1, :, 2:].mean((1, 2))[:, None, None].expand(4, 2, 6))
    assert (shown[2] == 0).all(), "a face of which nothing shows has no mean"
    half = visible_alone(maps, 0.5 * torch.ones(3, 1, 5, 6))
    torch.testing.assert_close(half, 0.5 * (maps + maps.mean((2, 3), keepdim=True)))


def test_local_layers_do_not_see_what_is_covered() -> None:
    torch.manual_seed(0)
    early = build_recogniser(replace(MODEL, visibility_map="early")).eval()
    upper = torch.ones(2, 1, 28, 28)
    upper[..., 14:, :] = 0
    said = upper.clone().requires_grad_()
    early.visibility_head.forward = lambda _: said[:1]  # type: ignore[method-assign]
    images = torch.from_numpy(faces(2)).permute(0, 3, 1, 2)
    other = images[:1].clone()
    other[..., 80:, :] = 255 - other[..., 80:, :]  # 24 pixels below what shows: beyond what earlier layers see
    plain, covered = early(images[:1]).feature_map, early(other).feature_map
    torch.testing.assert_close(plain, covered)
    plain.sum().backward()
    assert said.grad is None, "only masks teach the map"
    early.visibility_head.forward = lambda _: torch.ones(1, 1, 28, 28)  # type: ignore[method-assign]
    assert not torch.allclose(early(images[:1]).feature_map, early(other).feature_map)


def test_a_point_is_as_visible_as_its_surroundings_in_maps_of_any_size() -> None:
    points = np.array([[37.0, 51.0], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [0.0, 112.0]])
    coarse = np.random.default_rng(0).random((7, 7), dtype=np.float32)
    cells = np.minimum((points / 16).astype(int), 6)
    np.testing.assert_allclose(visible_points(coarse, points, 112), coarse[cells[:, 1], cells[:, 0]], rtol=1e-6)

    fine = np.ones((28, 28), np.float32)
    fine[11:14, 8:11] = 0  # twelve pixels around the first point
    found = visible_points(fine, points, 112)
    assert found[0] == pytest.approx(1 - 9 / 16)
    assert (found[1:] == 1).all()
