"""Weights under other tools' names give the embeddings that the other network gives, or are refused with the reason."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from oaml_core.errors import CheckpointError
from oaml_core.models.backbone_ir import Architecture, IRBackbone
from oaml_core.models.build import build_backbone
from oaml_core.models.mobilefacenet import MobileFaceNet
from oaml_core.models.pretrained import load_backbone

WIDTH = 4
STEPS = (2, 1, 2, 1)
"""Blocks per stage of the small network."""


class Unit(nn.Module):
    """A block under the names of InsightFace's iresnet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class Published(nn.Module):
    """A small network with the names and the layout of InsightFace's iresnet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.prelu = nn.PReLU(WIDTH)
        inputs = WIDTH
        for stage, count in enumerate(STEPS):
            outputs = WIDTH * 2**stage
            units = [Unit(inputs if number == 0 else outputs, outputs, 1 if number else 2) for number in range(count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*units))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * 49, 8 * WIDTH)
        self.features = nn.BatchNorm1d(8 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


def lived_in(network: nn.Module) -> nn.Module:
    """Give normalisations statistics, scales and slopes that differ from their first ones."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "weight")) and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return network.eval()


def small(blocks: tuple[int, int, int, int] = STEPS, *, projected: bool = True) -> IRBackbone:
    architecture = Architecture(blocks, projected=projected)
    return IRBackbone(architecture, image_size=112, width=WIDTH, embedding_size=8 * WIDTH).eval()


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    image = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = ours(image)
        torch.testing.assert_close(output.embedding * output.norm, theirs(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.net.", "net.module."])
def test_iresnet_by_its_own_names_gives_its_own_embeddings(prefix: str, tmp_path: Path) -> None:
    theirs = lived_in(Published())
    torch.save({f"{prefix}{name}": value for name, value in theirs.state_dict().items()}, tmp_path / "backbone.pth")
    ours = small()
    load_backbone(ours, tmp_path / "backbone.pth")
    assert_same(ours, theirs)


def test_a_training_state_of_arcface_torch_is_read(tmp_path: Path) -> None:
    theirs = lived_in(Published())
    torch.save({"epoch": 3, "state_dict_backbone": theirs.state_dict()}, tmp_path / "checkpoint_gpu_0.pt")
    ours = small()
    load_backbone(ours, tmp_path / "checkpoint_gpu_0.pt")
    assert_same(ours, theirs)


def test_iresnet_is_refused_where_the_network_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "backbone.pth"
    torch.save(lived_in(Published()).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"iresnet of InsightFace.*first block has a convolution.*No backbone"):
        load_backbone(small(projected=False), path)
    with pytest.raises(CheckpointError, match=r"\(2, 1, 2, 1\) blocks"):
        load_backbone(small((1, 1, 1, 1)), path)
    with pytest.raises(CheckpointError, match="iresnet of InsightFace"):
        load_backbone(MobileFaceNet(image_size=112), path)


def test_the_refusal_names_the_backbone_that_is_the_same(tmp_path: Path) -> None:
    names = {f"layer{stage}.{number}.bn1.weight": torch.ones(1) for stage in range(1, 5) for number in range(2)}
    save_file(
        names | {"layer1.0.conv1.weight": torch.ones(2), "features.running_mean": torch.ones(3)},
        tmp_path / "r.safetensors",
    )
    with pytest.raises(CheckpointError, match=r"Set model\.arch to iresnet_18"):
        load_backbone(build_backbone("ir_18"), tmp_path / "r.safetensors")


@pytest.mark.parametrize("prefix", ["net.", "model.net."])
def test_cvlface_names_give_the_same_embeddings(prefix: str, tmp_path: Path) -> None:
    theirs, ours = lived_in(small(projected=False)), small(projected=False)
    save_file({f"{prefix}{name}": value for name, value in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    load_backbone(ours, tmp_path / "model.safetensors")
    image = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(ours(image).embedding, theirs(image).embedding)


def test_a_scale_that_no_variance_can_have_is_refused(tmp_path: Path) -> None:
    state = lived_in(Published()).state_dict()
    state["features.weight"][0] = -1.0
    torch.save(state, tmp_path / "backbone.pth")
    with pytest.raises(CheckpointError, match="last normalisation has the scale 1"):
        load_backbone(small(), tmp_path / "backbone.pth")


@pytest.fixture
def lightning() -> Iterator[types.ModuleType]:
    """Classes with the names of Lightning 1.x, as far as pickles name them; gone again before files are read."""
    names = ("pytorch_lightning", "pytorch_lightning.utilities.parsing", "pytorch_lightning.callbacks.model_checkpoint")
    before = {name: sys.modules.get(name) for name in names}
    made = types.ModuleType("pytorch_lightning")
    for name, class_name, base in zip(names[1:], ("AttributeDict", "ModelCheckpoint"), (dict, object), strict=True):
        module = types.ModuleType(name)
        setattr(module, class_name, type(class_name, (base,), {"__module__": name}))
        sys.modules[name] = module
        setattr(made, class_name, getattr(module, class_name))
    sys.modules[names[0]] = made
    yield made
    for name, module in before.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module


def test_a_checkpoint_of_lightning_1_is_read_without_its_classes(lightning: types.ModuleType, tmp_path: Path) -> None:
    theirs, ours = lived_in(small(projected=False)), small(projected=False)
    state = {f"model.{name}": value for name, value in theirs.state_dict().items()} | {"head.kernel": torch.ones(3)}
    parameters = lightning.AttributeDict(arch="ir_101", lr=0.1)
    content = {
        "epoch": 25,
        "pytorch-lightning_version": "1.4.4",
        "state_dict": state,
        "callbacks": {lightning.ModelCheckpoint: {"dirpath": Path("here"), "best_model_score": torch.tensor(0.9)}},
        "hyper_parameters": parameters,
        "hparams": argparse.Namespace(arch="ir_101", seed=3),
        "loops": lightning.ModelCheckpoint(),
    }
    torch.save(content, tmp_path / "adaface.ckpt")
    load_backbone(ours, tmp_path / "adaface.ckpt")
    image = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(ours(image).embedding, theirs(image).embedding)


def test_objects_of_unknown_classes_are_named_and_not_made(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, tuple[list[str]]]:
            return subprocess.check_call, (["touch", str(tmp_path / "ran")],)

    torch.save({"state_dict": small().state_dict(), "hyper_parameters": Runs()}, tmp_path / "trap.ckpt")
    with pytest.raises(CheckpointError, match=r"check_call.*safetensors") as refused:
        load_backbone(small(), tmp_path / "trap.ckpt")
    assert "weights_only=False" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"oaml_core\.models\.backbone_ir\..*state dict alone"):
        load_backbone(small(), tmp_path / "whole.pt")


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "whole"])
def test_an_onnx_graph_of_iresnet_gives_its_own_embeddings(folded: bool, tmp_path: Path) -> None:
    theirs = lived_in(Published())
    path = tmp_path / "w600k.onnx"
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        theirs, (torch.zeros(1, 3, 112, 112),), str(path), dynamo=False, training=mode, do_constant_folding=folded
    )
    ours = small()
    load_backbone(ours, path)
    assert_same(ours, theirs)


def test_a_graph_that_joins_the_same_layers_otherwise_is_refused(tmp_path: Path) -> None:
    class Twice(Published):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(-x)

    path = tmp_path / "other.onnx"
    torch.onnx.export(lived_in(Twice()), (torch.zeros(1, 3, 112, 112),), str(path), dynamo=False)
    ours = small()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(CheckpointError, match="joins them otherwise"):
        load_backbone(ours, path)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
