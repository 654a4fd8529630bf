"""Reads pickles that hold nothing but lists, tuples, bytes, numbers, booleans and plain NumPy arrays.

No unpickler runs: the opcodes are listed by `pickletools` and the few that such data needs are carried out here,
on values of our own. An opcode, a class or a function outside them is refused by name, so that a file cannot run
anything. Bytes are not held but noted as (offset, length) in the file, so that a verification set of any size is
read in constant memory. Work is bounded by the size of the file: what needs many more steps than images do is refused.
"""

from __future__ import annotations

import codecs
import os
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import DataError


@dataclass(frozen=True, slots=True)
class BytesAt:
    """Bytes that stand in the pickle file as they are."""

    offset: int
    length: int

    def read(self, file: BinaryIO) -> bytes:
        """Return the bytes, from the open pickle file."""
        file.seek(self.offset)
        return file.read(self.length)


@dataclass
class PlainArray:
    """A pickled NumPy array of numbers, not read yet."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("u1"))
    data: BytesAt | bytes = b""
    fortran_order: bool = False

    def read(self, file: BinaryIO) -> NDArray[Any]:
        """Return the array, from the open pickle file; raises DataError if bytes and shape do not fit."""
        data = self.data.read(file) if isinstance(self.data, BytesAt) else self.data
        try:
            return np.frombuffer(data, self.dtype).reshape(self.shape, order="F" if self.fortran_order else "C")
        except ValueError as error:
            raise DataError(f"a pickled array does not fit its shape {self.shape}: {error}") from None


@dataclass
class _Type:
    """An array type, shared by all places that name it: a pickle sets the order of its bytes afterwards."""

    dtype: np.dtype[Any]


class _Mark:
    """Where a list or tuple begins on the stack."""


@dataclass(frozen=True)
class _Named:
    """An admitted class or function: a name to compare with, never an object to call."""

    name: str


_NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ADMITTED = {
    **{(core, "_reconstruct"): _Named("array") for core in _NUMPY_CORES},
    **{(core, "scalar"): _Named("scalar") for core in _NUMPY_CORES},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Named("frombuffer") for core in ("core", "_core")},
    ("numpy", "ndarray"): _Named("ndarray"),
    ("numpy", "dtype"): _Named("dtype"),
    ("_codecs", "encode"): _Named("encode"),
    ("builtins", "bytes"): _Named("bytes"),
    ("__builtin__", "bytes"): _Named("bytes"),
}
_BYTES = {
    "BINBYTES": 4,
    "SHORT_BINBYTES": 1,
    "BINBYTES8": 8,
    "BYTEARRAY8": 8,
    "BINSTRING": 4,
    "SHORT_BINSTRING": 1,
}
"""Opcodes whose argument stands in the file as it is, and the bytes of the length before it."""
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_VALUES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "FLOAT"}
_TEXT = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE"}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NOTHING = {"PROTO", "FRAME"}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


STEPS = 200_000
"""Steps that a pickle of any size may take; an image takes about five."""
STEPS_PER_BYTE = 0.02
"""Further steps per byte: encoded images have hundreds of bytes each."""
TYPE_BYTES = 16
"""Longest name of an array type."""
DIMENSIONS = 32
"""Most dimensions of an array."""


def read_plain_pickle(path: Path) -> Any:
    """Return the pickled value; bytes as `BytesAt` (or bytes, where they stand escaped), arrays as `PlainArray`.

    Pickles of Python 2 and 3, protocols 0 to 5, are read.

    Raises:
        DataError: the file is empty, cut off or damaged, takes too many steps for its size, or asks for anything but
            plain data; nothing of it has been run.
    """
    if not path.is_file() or not path.stat().st_size:
        raise DataError(f"{path} is missing or empty (0 bytes); copy the file again.")
    size = path.stat().st_size
    machine = _Machine(path, size)
    most = STEPS + int(STEPS_PER_BYTE * size)
    with path.open("rb") as file:
        try:
            for count, (name, argument, position) in enumerate(_opcodes(file, size)):
                if count > most:
                    raise machine.refused(f"more than {most:,} steps for {size:,} bytes", position)
                if name == "STOP":
                    return machine.pop()
                machine.step(name, argument, position)
        except DataError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{path} is not a whole pickle ({error}); it was cut off or damaged: copy the file again."
            ) from None
    raise DataError(f"{path} ends before its pickle does; copy the file again.")


def _opcodes(file: BinaryIO, size: int) -> Iterator[tuple[str, Any, int]]:
    """(name, argument, position) of every opcode; bytes are passed over and noted as `BytesAt`."""
    while code := file.read(1):
        position = file.tell() - 1
        opcode = _OPCODES[code.decode("latin-1")]
        if opcode.name in _BYTES:
            length = int.from_bytes(file.read(_BYTES[opcode.name]), "little")
            argument: Any = BytesAt(file.tell(), length)
            if argument.offset + length > size:
                raise ValueError(f"{length} bytes announced at byte {position}, {size - argument.offset} are there")
            file.seek(length, os.SEEK_CUR)
        elif opcode.name == "STRING":  # the library reads ASCII only; Python 2 wrote images so
            argument = codecs.escape_decode(file.readline().strip()[1:-1])[0]
        else:
            argument = opcode.arg.reader(file) if opcode.arg else None
        yield opcode.name, argument, position


class _Machine:
    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.left_to_encode = size
        """Characters: each of them stands in the file."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while not isinstance(self.stack[place], _Mark):
            place -= 1
            if place < 0:
                raise ValueError("a list or tuple ends that never began")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def step(self, name: str, argument: Any, position: int) -> None:
        if name in _BYTES or name in _VALUES or name in _TEXT or name == "STRING":
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _SHORT_TUPLES:
            items = [self.pop() for _ in range(_SHORT_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name not in _NOTHING:
            action = _ACTIONS.get(name)
            if action is None:
                raise self.refused(f"pickle opcode {name}", position)
            action(self, argument, position)

    def refused(self, what: str, position: int) -> DataError:
        return DataError(
            f"{self.path} asks for {what} at byte {position}. A verification set holds encoded images and "
            "booleans, nothing else: the file was refused and nothing in it was run. Get it from a source "
            "that you trust."
        )

    def name(self, module: str, name: str, position: int) -> None:
        admitted = _ADMITTED.get((module, name))
        if admitted is None:
            raise self.refused(f"`{module}.{name}`", position)
        self.stack.append(admitted)

    def build(self, _argument: Any, position: int) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, PlainArray) and isinstance(state, tuple) and len(state) == 5:
            _version, shape, kind, order_of_axes, data = state
            vars(target).update(vars(self.plain_array(shape, kind, data, order_of_axes, position)))
        elif isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 2:
            order: Literal["<", ">", "="] = state[1] if state[1] in ("<", ">") else "="
            target.dtype = target.dtype.newbyteorder(order)
        else:
            raise self.refused("setting attributes of something that is no plain array", position)

    def reduce(self, _argument: Any, position: int) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Named) or not isinstance(arguments, tuple):
            raise self.refused("a call of something that is no plain array", position)
        match function.name, arguments:
            case "array", _:
                made: Any = PlainArray()
            case "dtype", (str(code), *_):
                made = _Type(self.plain_dtype(code, position))
            case "dtype", (BytesAt() as code, *_):
                made = _Type(self.plain_dtype(self.text(code, position), position))
            case "scalar", (_Type() as kind, BytesAt() | bytes() as data):
                made = PlainArray((), kind.dtype, data)
            case "frombuffer", (BytesAt() | bytes() as data, _Type() as kind, tuple(shape), order):
                made = self.plain_array(shape, kind, data, order == "F", position)
            case "encode", (str(text), *_):
                self.left_to_encode -= len(text)
                if self.left_to_encode < 0:
                    raise self.refused("the same text to be encoded again and again", position)
                made = text.encode("latin-1")
            case "bytes", ():
                made = b""
            case _:
                raise self.refused(f"a call of {function.name} with unusual arguments", position)
        self.stack.append(made)

    def text(self, at: BytesAt, position: int) -> str:
        if at.length > TYPE_BYTES:
            raise self.refused(f"an array type of {at.length} bytes", position)
        with self.path.open("rb") as file:
            return at.read(file).decode("latin-1")

    def plain_dtype(self, code: str, position: int) -> np.dtype[Any]:
        if len(code) > TYPE_BYTES:
            raise self.refused(f"an array type of {len(code)} characters", position)
        try:
            dtype = np.dtype(code)
        except TypeError:
            raise self.refused(f"an array type {code!r}", position) from None
        if dtype.kind not in "biuf" or dtype.fields:
            raise self.refused(f"an array of {dtype}, which holds no plain numbers,", position)
        return dtype

    def plain_array(self, shape: Any, kind: Any, data: Any, fortran_order: Any, position: int) -> PlainArray:
        plain = (
            isinstance(kind, _Type)
            and isinstance(data, (BytesAt, bytes))
            and isinstance(shape, tuple)
            and len(shape) <= DIMENSIONS
            and all(isinstance(n, int) and n >= 0 for n in shape)
        )
        if not plain:
            raise self.refused("an array that is not made of plain numbers", position)
        return PlainArray(shape, kind.dtype, data, bool(fortran_order))

    def append(self, *_: Any) -> None:
        item = self.pop()
        self.extend([item])

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("items are added to something that is no list")
        self.stack[-1].extend(items)

    def global_(self, argument: Any, position: int) -> None:
        module, _, name = argument.partition(" ")
        self.name(module, name, position)

    def stack_global(self, _argument: Any, position: int) -> None:
        name, module = self.pop(), self.pop()
        self.name(str(module), str(name), position)

    def get(self, argument: Any, _position: int) -> None:
        self.stack.append(self.memo[int(argument)])

    def put(self, argument: Any, _position: int) -> None:
        self.memo[int(argument)] = self.stack[-1]

    def memoize(self, *_: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]


_ACTIONS: dict[str, Callable[[_Machine, Any, int], None]] = {
    "MARK": lambda machine, *_: machine.stack.append(_Mark()),
    "EMPTY_LIST": lambda machine, *_: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, *_: machine.stack.append(()),
    "LIST": lambda machine, *_: machine.stack.append(machine.pop_to_mark()),
    "TUPLE": lambda machine, *_: machine.stack.append(tuple(machine.pop_to_mark())),
    "APPEND": _Machine.append,
    "APPENDS": lambda machine, *_: machine.extend(machine.pop_to_mark()),
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GET": _Machine.get,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "PUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "POP": lambda machine, *_: machine.stack.pop(),
}
