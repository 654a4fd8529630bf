"""The fused kernels, run by Triton's interpreter on a CPU, against float64."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from oaml_core.models.correlation import correlation_maxima
from oaml_core.models.correlation_fused import fused_maxima
from oaml_core.models.correlation_weighting import weighted_side

pytest.importorskip("triton")

Found = tuple[list[Tensor], list[Tensor]]


class Case(NamedTuple):
    """Shapes: groups B, probes A, places S, gallery places R, maps K, channels C."""

    b: int
    a: int
    s: int
    r: int
    k: int
    c: int
    candidates: bool = False
    product: torch.dtype = torch.float32


CASES = {
    "7 × 7 maps, more than a tile": Case(1, 5, 49, 49, 7, 34),
    "14 × 14 maps": Case(1, 2, 196, 196, 2, 20),
    "pairs": Case(5, 1, 49, 49, 1, 70),
    "other sizes of both sides": Case(2, 3, 20, 6, 11, 5),
    "candidates": Case(4, 1, 49, 49, 3, 18, candidates=True),
    "half precision": Case(1, 3, 49, 49, 6, 64, product=torch.float16),
}


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    probe = torch.nn.functional.normalize(torch.randn(case.b, case.a, case.s, case.c, generator=generator), dim=-1)
    maps = (1, case.r, 6, case.c) if case.candidates else (case.b, case.r, case.k, case.c)
    gallery = torch.nn.functional.normalize(torch.randn(*maps, generator=generator), dim=-1)
    candidates = torch.randint(0, 6, (case.b, case.k), generator=generator) if case.candidates else None
    return probe.to(case.product).float(), gallery.to(case.product).float(), candidates


def differentiated(maxima: tuple[Tensor, Tensor], of: list[Tensor]) -> Found:
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(one.shape, generator=generator) for one in maxima]
    total = torch.stack([(one * w.to(one.dtype)).sum() for one, w in zip(maxima, weights, strict=True)]).sum()
    return [one.detach() for one in maxima], list(torch.autograd.grad(total, of))


def interpreted(case: Case) -> Found:
    """Maxima and gradients by the kernels; runs where TRITON_INTERPRET is set."""
    torch.set_num_threads(1)
    probe, gallery, candidates = inputs(case)
    of = [probe.requires_grad_()] if case.candidates else [probe.requires_grad_(), gallery.requires_grad_()]
    return differentiated(fused_maxima(probe, gallery, candidates, case.product), of)


def interpreted_nan() -> list[Tensor]:
    probe, gallery, _ = inputs(CASES["other sizes of both sides"])
    probe[0, 1, 3, 2] = torch.nan
    return list(fused_maxima(probe, gallery, None, torch.float32))


@pytest.fixture(scope="module")
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: Triton reads the variable when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(interpreted, Case(1, 1, 4, 4, 1, 4)).result(timeout=300)
            yield pool


@pytest.mark.parametrize("name", sorted(CASES))
def test_values_and_gradients_are_those_of_float64(name: str, interpreter: ProcessPoolExecutor) -> None:
    case = CASES[name]
    maxima, gradients = interpreter.submit(interpreted, case).result(timeout=300)
    probe, gallery, candidates = inputs(case)
    probe, gallery = probe.double().requires_grad_(), gallery.double()
    rows = gallery if candidates is None else gallery[0][:, candidates].transpose(0, 1)
    rows = rows.detach().requires_grad_()
    c = torch.einsum("basc,brkc->basrk", probe, rows)
    expected = differentiated((c.amax(3), c.amax(2)), [probe] if case.candidates else [probe, rows])
    # A gradient's factors are rounded to the product's type, the maxima are sums of exact products.
    coarse = 2e-3 if case.product == torch.float16 else 1e-5
    for found, exact in zip(maxima, expected[0], strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    for found, exact in zip(gradients, expected[1], strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=coarse, atol=coarse)


def test_a_nan_stays_one(interpreter: ProcessPoolExecutor) -> None:
    over_gallery, over_probe = interpreter.submit(interpreted_nan).result(timeout=300)
    assert over_gallery[0, 1, 3].isnan().all()
    assert over_probe[0, 1].isnan().all()
    assert over_gallery[0, 0].isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("weighting", ["evidence", "multiply"])
def test_a_gpu_computes_what_the_blocks_do(weighting: str) -> None:
    generator = torch.Generator().manual_seed(0)
    maps, others = (torch.randn(9, 512, 49, generator=generator) for _ in range(2))
    v, u = (torch.rand(9, 49, generator=generator) for _ in range(2))
    found = []
    for device in ("cpu", "cuda"):
        left = weighted_side(maps.to(device), v.to(device), weighting, torch.float32)  # type: ignore[arg-type]
        right = weighted_side(others.to(device), u.to(device), weighting, torch.float32, gallery=True)  # type: ignore[arg-type]
        rows = [left.rows.detach().requires_grad_(), right.rows.detach().requires_grad_()]
        found.append(differentiated(correlation_maxima(rows[0][None], rows[1].transpose(0, 1)[None]), rows))
    for one, other in zip(*([*maxima, *gradients] for maxima, gradients in found), strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-4, atol=1e-5)
