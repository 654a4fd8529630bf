"""Open a graph that others wrote in onnxruntime: quiet, and with all that it says of itself read at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU = ("CPUExecutionProvider",)


def open_session(path: str | Path, threads: int = 0, providers: Sequence[str] = CPU) -> Any:
    """Return onnxruntime's session of a graph.

    Names and lengths of inputs and outputs that are no UTF-8 are noticed only where they are read. All of them are read
    here, so that a caller who catches what this raises can rely on them.

    Args:
        path: of an ONNX file.
        threads: threads inside an operator; 0: onnxruntime's choice.
        providers: onnxruntime's execution providers.

    Raises:
        Exception: onnxruntime cannot load it; its own types of exceptions share no base below `Exception`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(_readable(path), _quiet_options(threads), providers=list(providers))
    for one in (*session.get_inputs(), *session.get_outputs()):
        _ = one.name, one.type, one.shape
    return session


def _readable(path: str | Path) -> str | bytes:
    """Return the path, or the content of a file whose name is no UTF-8: the runtime takes no such name."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        return Path(path).read_bytes()
    return name


def _quiet_options(threads: int = 0) -> Any:
    """Return onnxruntime's options for a session whose waiting threads sleep, and that logs errors alone.

    Threads that spin take processor time from whoever else works on the machine, also from the other sessions of this
    process: detector, backbone and matcher take turns.

    Args:
        threads: threads inside an operator; 0: onnxruntime's choice.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
