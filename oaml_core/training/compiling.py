"""Tells whether torch.compile can work on this machine.

Inductor writes C++ and Triton writes C at run time; torch's wheels bring no compiler for either. `python -m
oaml_core.training.compiling` compiles a tiny backbone, as the build of an image that may train does.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING, Literal

from oaml_core.errors import ConfigError
from oaml_core.held_folder import held_folder

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

LANGUAGES = {"C": ("CC", ("gcc", "clang", "cc"), "c"), "C++": ("CXX", ("g++", "clang++", "c++"), "c++")}
"""Ways to find a compiler, by language: environment variable that names one, usual names, and its
own word for the language."""
PROGRAM = "#include <Python.h>\nint answer(void) { return PY_MAJOR_VERSION; }\n"
"""Triton's launchers are modules of Python, and need its headers."""
SECONDS = 60.0
REMEDY = "install gcc, g++ and Python's headers (on Debian: apt-get install gcc g++ libc6-dev python3-dev)"


def compiles(wanted: bool | Literal["auto"], device: torch.device) -> bool:
    """Return whether the backbone is compiled for `device`.

    Args:
        wanted: `train.compile`; "auto" compiles on a GPU where it can work, and logs why not where it cannot.

    Raises:
        ConfigError: compiling is asked for and cannot work here; says why before any time is spent.
    """
    if wanted is False or (wanted == "auto" and device.type != "cuda"):
        return False
    if (obstacle := obstacle_to_compiling()) is None:
        return True
    if wanted == "auto":
        log.warning("train: does not compile the backbone: %s; %s.", obstacle, REMEDY)
        return False
    raise ConfigError(f"train.compile is on, but {obstacle}: {REMEDY}, or set train.compile to auto or off.")


def obstacle_to_compiling() -> str | None:
    """Return why torch.compile cannot work here; None where compilers for C and C++ and Python's headers are found."""
    for language, (variable, usual, word) in LANGUAGES.items():
        named = os.environ.get(variable)
        compiler = next(filter(None, map(shutil.which, [named] if named else usual)), None)
        if compiler is None:
            return f"there is no {language} compiler ({named or ', '.join(usual)})"
        if complaint := _complaint(compiler, word):
            return f"{compiler} cannot compile a module of Python: {complaint}"
    return None


def _complaint(compiler: str, word: str) -> str | None:
    """Last line of the compiler's complaint about a module of Python; None if it has none."""
    with held_folder("oaml-compiler-") as folder:
        include, out = sysconfig.get_paths()["include"], str(folder / "module.so")
        command = [compiler, "-shared", "-fPIC", f"-I{include}", "-x", word, "-", "-o", out]
        try:
            done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True, check=False, timeout=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    return (errors or done.stderr.splitlines() or [f"exit code {done.returncode}"])[0].strip()


def compile_tiny_backbone() -> None:
    """Compile the smallest backbone and run it on one image.

    Raises:
        ConfigError: there is no compiler. RuntimeError: torch.compile failed. AssertionError: its result differs.
    """
    import torch

    from oaml_core.models.build import build_backbone

    if obstacle := obstacle_to_compiling():
        raise ConfigError(f"{obstacle}: {REMEDY}.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_backbone("ir_mini", width=4).eval().to(device)
    image = torch.zeros(2, 3, 112, 112, device=device)
    with torch.no_grad():
        expected = model(image).embedding
        model.compile()
        torch.testing.assert_close(model(image).embedding, expected, rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    try:
        compile_tiny_backbone()
    except ConfigError as error:
        sys.exit(f"oaml: {error}")
    print("torch.compile works: a tiny backbone was compiled")
