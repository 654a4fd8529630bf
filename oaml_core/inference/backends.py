"""Run an exported graph by onnxruntime, or by OpenVINO where that is installed and says the same.

`onnxruntime` is the reference: a model is exported, checked and measured with it. `auto` takes OpenVINO (`pip install
'oaml[fast]'`) in bfloat16 where the processor computes in it, else in float32. Each is tried on the caller's trial
input first. Where float32's answers to that are known, it is passed over if it is farther from them than `FURTHER`
times onnxruntime is, and than `TOLERANCES`; elsewhere, if it differs from onnxruntime by more than `TOLERANCES`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import ConfigError, ExportError
from oaml_core.inference.openvino_graph import (
    drop_idle_pools,
    drop_needless_rounding,
    part_prelu,
    round_beside_norm,
)
from oaml_core.inference.trial import distance, thinned
from oaml_core.onnx_session import CPU, open_session

log = logging.getLogger(__name__)

Backend = Literal["auto", "onnxruntime", "openvino"]
BACKENDS: tuple[Backend, ...] = ("auto", "onnxruntime", "openvino")
Precision = Literal["f32", "bf16"]
Feeds = Mapping[str, NDArray[Any]]

TOLERANCES: dict[Precision, float] = {"f32": 1e-3, "bf16": 5e-2}
"""Largest |x − y| / |y| of an output x against onnxruntime's y, by precision. For unit embeddings, 5e-2 is a cosine of
0.9987 between the two."""
QUANTISED_TOLERANCE = 2.5e-1
"""The same for 8-bit graphs without known answers, whose steps of rounding fall otherwise in every library. Patterns
are no faces: a MobileFaceNet whose embeddings of faces differ by 0.07 differs by 0.13 there, and one with a harmed
layer by 0.3."""
FURTHER = 1.5
"""Times as far from float32 as onnxruntime's run of the same file another run may be. What that file loses was measured
by onnxruntime when it was exported, so this is what is lost beyond the record. On faces, sound runs of 8-bit files of
MobileFaceNet and IR-50 are 0.8 to 1.1 times as far."""
QUANTISED = "QuantizeLinear"


class Tensor(NamedTuple):
    """An input or an output of a graph."""

    name: str
    type: str
    """Type as onnxruntime names it, such as `tensor(uint8)`."""
    shape: tuple[int, ...]
    """-1: any length."""


class TrialInput(NamedTuple):
    """Inputs like those to come, that backends are judged on."""

    feeds: Feeds
    float32: Mapping[str, NDArray[np.float32]] = {}
    """Known outputs of the same network in float32, see `oaml_core.inference.trial.thinned`; empty: not known."""


class Runtime(Protocol):
    """A loaded graph, in whichever library runs it."""

    @property
    def name(self) -> str:
        """Library and precision, such as `openvino bf16`."""

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        """Compute the named outputs of the named inputs."""


class OnnxRuntime:
    """A loaded graph that onnxruntime runs.

    Args:
        path: ONNX file.
        providers: onnxruntime's execution providers; None: CPU.
        threads: threads inside an operator; 0: onnxruntime's choice.

    Raises:
        ExportError: the file is missing or unreadable.
    """

    def __init__(self, path: Path, providers: list[str] | None = None, threads: int = 0) -> None:
        if not path.is_file():
            raise ExportError(f"{path} does not exist; `oaml export` writes the model.")
        try:
            self._session = open_session(path, threads, providers or CPU)
            # Texts that are no UTF-8 are noticed only where they are read.
            self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
            """Texts that the exporter wrote beside the graph, by name."""
            self.input_tensors = [_tensor(one) for one in self._session.get_inputs()]
            self.output_tensors = [_tensor(one) for one in self._session.get_outputs()]
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ExportError(f"{path} cannot be loaded by onnxruntime: {error}") from error
        self.name = "onnxruntime"
        self.inputs: list[str] = [one.name for one in self.input_tensors]
        self.outputs: list[str] = [one.name for one in self.output_tensors]

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        """Compute the named outputs of the named inputs."""
        found: list[NDArray[Any]] = self._session.run(list(outputs), dict(feeds))
        return found


def _tensor(described: Any) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in described.shape)
    return Tensor(described.name, described.type, shape)


class OpenVino:
    """A graph in OpenVINO, on the CPU; threads may share it.

    Args:
        path: ONNX file.
        precision: of the arithmetic. 8-bit graphs compute what is quantised in 8 bits all the same.
        threads: threads inside an operator; 0: OpenVINO's choice.

    Raises:
        ExportError: OpenVINO refuses the graph.
    """

    def __init__(self, path: Path, precision: Precision = "f32", threads: int = 0) -> None:
        # Pinned threads of several processes meet on the same cores.
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = _core()
            model = core.read_model(str(path))
            drop_idle_pools(model)
            drop_needless_rounding(model)
            round_beside_norm(model)
            if precision == "bf16":
                part_prelu(model)
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ExportError(
                f"{path} cannot be loaded by OpenVINO: {error} Use the backend onnxruntime for this model."
            ) from error
        self.name = f"openvino {precision}"
        self._own = threading.local()

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        """Compute the named outputs of the named inputs."""
        # A request holds the values of one computation: each thread has its own.
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        contiguous = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        found = self._own.request.infer(contiguous)
        return [found[name] for name in outputs]


def open_runtime(
    path: Path,
    backend: Backend,
    trial: Callable[[], TrialInput],
    *,
    threads: int = 0,
    reference: OnnxRuntime | None = None,
    precisions: Sequence[Precision] = ("bf16", "f32"),
) -> Runtime:
    """Load a graph by the backend that was chosen.

    Args:
        path: ONNX file.
        backend: `auto`: the first of `precisions` in OpenVINO that agrees with onnxruntime, else onnxruntime.
            `openvino`: the same, and an error instead of onnxruntime.
        trial: makes inputs like those to come, that the backends are compared on.
        threads: threads inside an operator; 0: the library's choice.
        reference: the graph in onnxruntime, if it is loaded already.
        precisions: that may be used, the preferred one first; those that the processor lacks are passed over.

    Raises:
        ExportError: the file cannot be loaded, or `openvino` was asked for and differs.
        ConfigError: `openvino` was asked for and is not installed, or there is no such backend.
    """
    check_backend(backend)
    known = reference or OnnxRuntime(path, threads=threads)
    if backend == "onnxruntime" or (backend == "auto" and not has_openvino()):
        return known
    given = trial()
    expected = known.run(known.outputs, given.feeds)
    judge = _Judge(known.outputs, expected, given.float32, QUANTISED.encode() in path.read_bytes())
    refusals = []
    for precision in usable(precisions):
        try:
            tried = OpenVino(path, precision, threads)
            refusal = judge.refusal(precision, tried.run(known.outputs, given.feeds))
        except (ExportError, RuntimeError) as error:
            refusal = str(error)
        if not refusal:
            return tried
        refusals.append(f"{precision}: {refusal}")
    reason = f"{path} cannot run in OpenVINO: {'; '.join(refusals)}."
    if backend == "openvino":
        raise ExportError(f"{reason} Use the backend auto or onnxruntime.")
    log.info("%s onnxruntime runs it", reason)
    return known


def check_backend(backend: str) -> None:
    """Raise ConfigError if there is no such backend, or if OpenVINO was asked for and is not installed."""
    if backend not in BACKENDS:
        raise ConfigError(f"There is no backend {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if backend == "openvino" and not has_openvino():
        raise ConfigError(
            "The backend openvino was asked for, and OpenVINO is not installed. "
            "Install it with `pip install 'oaml[fast]'`, or choose the backend auto or onnxruntime."
        )


def has_openvino() -> bool:
    """Return True if OpenVINO is installed."""
    return find_spec("openvino") is not None


def usable(precisions: Sequence[Precision]) -> list[Precision]:
    """Return those precisions that the processor computes in; float32 always is one."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [one for one in precisions if one == "f32" or one.upper() in capabilities]


def trial_images(size: int) -> NDArray[np.uint8]:
    """Smooth coloured patterns, the same at every call: what backends are compared on before faces come.

    Args:
        size: side in pixels.

    Returns:
        uint8 [4, size, size, 3].
    """
    coarse = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3)).astype(np.float32)
    at = np.linspace(0, 8, size, dtype=np.float32)
    low = np.minimum(at.astype(np.int64), 7)
    part = at - low
    rows = coarse[:, low] + (coarse[:, low + 1] - coarse[:, low]) * part[:, None, None]
    columns = rows[:, :, low] + (rows[:, :, low + 1] - rows[:, :, low]) * part[:, None]
    return columns.astype(np.uint8)


@cache
def _core() -> Any:
    """Return this process' one core of OpenVINO.

    Each core gives the thread that makes it a stack for signal handlers. Two that end in the order of their making
    leave the thread with the first one's, which is freed by then, and the next signal ends the process.
    """
    import openvino

    return openvino.Core()


class _Judge(NamedTuple):
    """Outputs that those of another backend are held against."""

    names: Sequence[str]
    expected: Sequence[NDArray[Any]]
    """Outputs of onnxruntime."""
    float32: Mapping[str, NDArray[np.float32]]
    quantised: bool

    def refusal(self, precision: Precision, found: Sequence[NDArray[Any]]) -> str:
        """Return why these outputs are not good enough; empty if they are."""
        pairs = list(zip(self.names, found, self.expected, strict=True))
        for name, one, other in pairs:
            if one.shape != other.shape or not np.isfinite(one).all():
                return f"{name} is {one.shape} and not {other.shape}, or not finite"
        if self.float32:
            return next(filter(None, (self._farther(precision, *each) for each in pairs)), "")
        bound = QUANTISED_TOLERANCE if self.quantised else TOLERANCES[precision]
        differs = max((distance(one, other) for _, one, other in pairs), default=0.0)
        return "" if differs <= bound else f"it differs from onnxruntime by {differs:.2g}, more than {bound:g}"

    def _farther(self, precision: Precision, name: str, found: NDArray[Any], expected: NDArray[Any]) -> str:
        exact = self.float32[name]
        if exact.shape != thinned(expected).shape:
            return f"{name} of trial faces has {amount(exact.shape[1], 'number')} per face, the model gives others"
        here, there = (distance(thinned(one), exact) for one in (found, expected))
        bound = max(TOLERANCES[precision], FURTHER * there)
        if here <= bound:
            return ""
        return (
            f"{name} of trial faces differs from float32 by {here:.2g}, more than {bound:.2g} "
            f"(onnxruntime by {there:.2g})"
        )
