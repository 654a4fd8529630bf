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
from oaml_core.models.visibility import FineVisibilityHead
from oaml_core.photos.quality import visible_points
from oaml_core.visibility import resize_visibility

MODEL = ModelConfig(arch="mobilefacenet", local_layers=17, matcher="pooled_alone", visibility_map="fine")


@pytest.fixture
def recogniser() -> Recogniser:
    torch.manual_seed(0)
    return build_recogniser(MODEL).eval()


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


def test_a_bar_thinner_than_a_place_of_the_feature_map_is_learnt() -> None:
    """Bars of four pixels on maps where only the earlier one shows them."""
    torch.manual_seed(0)
    head = FineVisibilityHead(8, 4)
    optimiser = torch.optim.Adam(head.parameters(), 0.01)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        visible = torch.ones(count, 1, 28, 28)
        for image, row in enumerate(torch.randint(0, 28, (count,))):
            visible[image, :, row] = 0
        return torch.randn(count, 8, 7, 7), torch.randn(count, 4, 28, 28) + 5 * (1 - visible), visible

    for _ in range(40):
        deep, earlier, visible = drawn(16)
        optimiser.zero_grad()
        visibility_loss(head(deep, earlier), visible).backward()
        optimiser.step()
    deep, earlier, visible = drawn(16)
    with torch.no_grad():
        found = head.eval()(deep, earlier)
    hidden, said = visible < 0.5, found < 0.5
    assert (hidden & said).sum() / (hidden | said).sum() > 0.9


def test_other_maps_than_its_own_are_refused() -> None:
    head = FineVisibilityHead(8, 4)
    with pytest.raises(ModelInputError, match=r"feature maps \[B, 8, h, w\], not \[1, 7, 7, 7\]"):
        head(torch.zeros(1, 7, 7, 7), torch.zeros(1, 4, 28, 28))
    with pytest.raises(ModelInputError, match=r"earlier maps \[B, 4, h, w\], not \[1, 8, 28, 28\]"):
        head(torch.zeros(1, 8, 7, 7), torch.zeros(1, 8, 28, 28))


@pytest.mark.parametrize("change", [{"local_layers": 0}, {"matcher": "pooled"}])
def test_models_that_cannot_have_it_are_refused(change: dict[str, int | str]) -> None:
    with pytest.raises(ConfigError, match=r"model\.visibility_map fine"):
        Config(model=replace(MODEL, **change))  # type: ignore[arg-type]


def test_exported_it_is_drawn_and_kept_in_a_gallery(tmp_path: Path, recogniser: Recogniser) -> None:
    config = Config(model=MODEL)
    with torch.no_grad():
        for layer in recogniser.visibility_head.modules():  # far from one value everywhere
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.mul_(3)
    export_onnx(recogniser, tmp_path / "model.onnx", config, faces(4))
    model = OamlOnnx(tmp_path / "model.onnx")

    images = faces(2)
    records = model.records(images)
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
