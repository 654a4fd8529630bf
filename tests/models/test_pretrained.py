"""Published checkpoints load, by name and colour order, or say why not."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from oaml_core.errors import CheckpointError
from oaml_core.models.build import build_backbone
from oaml_core.models.pretrained import load_backbone


def test_prefixed_checkpoint_in_bgr_gives_the_same_embedding_of_rgb_images(tmp_path: Path) -> None:
    published, ours = build_backbone("ir_mini", width=8).eval(), build_backbone("ir_mini", width=8).eval()
    state = {f"model.{name}": tensor for name, tensor in published.state_dict().items()} | {
        "head.kernel": torch.zeros(3)
    }
    torch.save({"state_dict": state}, tmp_path / "adaface.ckpt")
    load_backbone(ours, tmp_path / "adaface.ckpt", channel_order="bgr")
    image = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image).embedding, published(image.flip(1)).embedding)


def test_safetensors_load(tmp_path: Path) -> None:
    model = build_backbone("ir_mini", width=8)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = build_backbone("ir_mini", width=8)
    load_backbone(other, tmp_path / "weights.safetensors")
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_weights_of_another_backbone_are_refused_by_name(tmp_path: Path) -> None:
    state = build_backbone("ir_mini", width=8).state_dict()
    del state["output_layer.3.bias"]
    torch.save(state | {"extra": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"output_layer\.3\.bias\) missing.*extra\) left over"):
        load_backbone(build_backbone("ir_mini", width=8), tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (("ir_18", {}), "set model.arch to ir_18."),
        (("mobilefacenet", {}), "set model.arch to mobilefacenet."),
        (("ir_mini", {"width": 6}), "set model.arch to ir_mini and model.width to 6."),
        (
            ("ir_mini", {"image_size": 224}),
            "set model.arch to ir_mini and model.width to 16 and data.image_size to 224.",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_the_refusal_names_the_settings_that_the_weights_are_of(
    tmp_path: Path, made: tuple[str, dict[str, int]], said: str, prefix: str
) -> None:
    state = build_backbone(made[0], **made[1]).state_dict()
    torch.save({f"{prefix}{k}": v for k, v in state.items()} | {"head.kernel": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_backbone(build_backbone("ir_mini", width=8), tmp_path / "other.pt")


def test_weights_of_no_backbone_are_refused_with_the_way_that_is_left(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"No backbone here has these weights \(ir_mini, .*`oaml model add`"):
        load_backbone(build_backbone("ir_mini", width=8), tmp_path / "other.pt")


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "attack.pt").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CheckpointError, match=r"attack\.pt"):
        load_backbone(build_backbone("ir_mini", width=8), tmp_path / "attack.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"state_dict": [1]}, {"epoch": 3}], ids=str)
def test_files_that_hold_no_weights_by_name_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt holds"):
        load_backbone(build_backbone("ir_mini", width=8), tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "changed",
    [
        lambda value: value.to(torch.complex64),
        lambda value: value.to("meta"),
        lambda value: value.to_sparse(),
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    ],
    ids=["complex", "meta", "sparse", "quantised"],
)
def test_tensors_that_are_no_plain_numbers_are_refused_by_name(
    tmp_path: Path, changed: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    state = build_backbone("ir_mini", width=4).state_dict()
    torch.save(state | {"input_layer.0.weight": changed(state["input_layer.0.weight"])}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"odd\.pt .*(input_layer\.0\.weight|cannot be read as weights)"):
        load_backbone(build_backbone("ir_mini", width=4), tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x08\x08\x12\x07pytorch", "an ONNX file by its content: give it the ending .onnx"),
        (b"\x1f\x8b\x08", "a gzip file: unpack it"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"7767517\n75 83\n", "ncnn"),
        (b"<?xml version='1.0'?><net/>", "OpenVINO"),
        (b"ptrt", "TensorRT"),
        (b"\x93NUMPY\x01", "NumPy"),
    ],
)
def test_files_of_other_tools_are_refused_by_what_they_are(tmp_path: Path, start: bytes, said: str) -> None:
    (tmp_path / "model.pth").write_bytes(start + bytes(60))
    with pytest.raises(CheckpointError, match=rf"model\.pth is .*{said}"):
        load_backbone(build_backbone("ir_mini", width=4), tmp_path / "model.pth")


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    whole = {name: value.to(torch.int8) for name, value in build_backbone("ir_mini", width=4).state_dict().items()}
    torch.save(whole, tmp_path / "quantised.pt")
    with pytest.raises(CheckpointError, match="whole numbers in place of weights"):
        load_backbone(build_backbone("ir_mini", width=4), tmp_path / "quantised.pt")


def test_other_shapes_are_refused_and_change_nothing(tmp_path: Path) -> None:
    torch.save(build_backbone("ir_mini", width=16).state_dict(), tmp_path / "wide.pt")
    model = build_backbone("ir_mini", width=8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"input_layer\.0\.weight \[16, 3, 3, 3\] instead of \[8, 3, 3, 3\]"):
        load_backbone(model, tmp_path / "wide.pt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_files_without_batch_counters_load(tmp_path: Path) -> None:
    state = build_backbone("ir_mini", width=8).state_dict()
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "old.pt")
    model = build_backbone("ir_mini", width=8)
    load_backbone(model, tmp_path / "old.pt")
    assert torch.equal(model.state_dict()["body.0.res_layer.1.weight"], state["body.0.res_layer.1.weight"])
