"""What a backbone says does not depend on memory layout, precision, compilation or export, and never turns NaN."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from oaml_core.models.backbone import Backbone, unit_length
from oaml_core.models.build import build_backbone

ARCHITECTURES = ["ir_mini", "mobilefacenet"]


def faces(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1


def backbone(arch: str) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(arch, width=8).eval()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_channels_last_changes_nothing(arch: str) -> None:
    model = backbone(arch)
    with torch.inference_mode():
        expected = model(faces())
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = model(faces().to(memory_format=torch.channels_last))
    assert found.feature_map.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_bf16_keeps_the_direction_of_the_embedding(arch: str) -> None:
    model = backbone(arch)
    with torch.inference_mode():
        expected = model(faces())
        with torch.autocast("cpu", torch.bfloat16):
            found = model(faces())
    assert found.embedding.dtype == found.norm.dtype == torch.float32
    assert found.feature_map.dtype == torch.bfloat16
    assert (found.embedding * expected.embedding).sum(1).min() > 0.99
    torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_exported_program_takes_any_batch(arch: str) -> None:
    model = backbone(arch)
    program = torch.export.export(model, (faces(2),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with torch.inference_mode():
        for ours, theirs in zip(program.module()(faces(3)), model(faces(3)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_graph_holds_the_backbone_and_its_gradients() -> None:
    """Without code generation, which takes a minute on a CPU: what torch.compile needs of a model is one graph."""
    model = backbone("ir_mini")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(faces()).embedding.square().sum().backward()
    torch.testing.assert_close(compiled(faces()).embedding, model(faces()).embedding)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling for the CPU needs a C++ compiler")
def test_compiled_code_says_the_same() -> None:
    model = backbone("ir_mini")
    expected = model(faces())
    expected.embedding.sum().backward()
    gradient = model.body[0].res_layer[1].weight.grad  # type: ignore[index,union-attr]
    model.zero_grad()
    model.compile()
    found = model(faces())
    found.embedding.sum().backward()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.body[0].res_layer[1].weight.grad, gradient, rtol=1e-3, atol=1e-5)  # type: ignore[index,union-attr]


def test_an_embedding_without_direction_has_finite_gradients() -> None:
    raw = torch.zeros(3, 8)
    raw[1, 0], raw[2, 0] = 1e-12, 3.0
    raw.requires_grad_()
    embedding, norm = unit_length(raw)
    (embedding.sum() + norm.sum()).backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert raw.grad.abs().max() < 10
    assert embedding[0].eq(0).all()
    torch.testing.assert_close(embedding[2], torch.eye(8)[0])


def test_halves_that_overflow_when_squared_are_normalised() -> None:
    embedding, norm = unit_length(torch.full((1, 512), 300.0, dtype=torch.float16))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(1))
    torch.testing.assert_close(norm, torch.full((1, 1), 300.0 * 512**0.5))


@pytest.mark.gpu
@pytest.mark.parametrize("arch", ["ir_50", "mobilefacenet"])
def test_a_gpu_says_the_same_in_bf16_compiled_and_channels_last(arch: str) -> None:
    model = backbone(arch)
    with torch.inference_mode():
        expected = model(faces(4))
    on_gpu = backbone(arch).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    on_gpu.compile()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        found = on_gpu(faces(4).cuda().to(memory_format=torch.channels_last))
    assert (found.embedding.cpu() * expected.embedding).sum(1).min() > 0.98
    torch.testing.assert_close(found.norm.cpu(), expected.norm, rtol=0.05, atol=0.0)
