"""Carry out the few pickle opcodes that plain data needs, on values of our own; refuse all others by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oaml_core.data.sources.pickled_values import BytesAt, PlainArray
from oaml_core.errors import DataError


@dataclass
class TypeInPickle:
    """An array type, shared by all places that name it: a pickle sets the order of its bytes afterwards."""

    dtype: np.dtype[Any]


class Mark:
    """The beginning of a list or tuple on the stack."""


@dataclass(frozen=True)
class Admitted:
    """An admitted class or function: a name to compare with, never an object to call."""

    name: str


_NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ADMITTED = {
    **{(core, "_reconstruct"): Admitted("array") for core in _NUMPY_CORES},
    **{(core, "scalar"): Admitted("scalar") for core in _NUMPY_CORES},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Admitted("frombuffer") for core in ("core", "_core")},
    ("numpy", "ndarray"): Admitted("ndarray"),
    ("numpy", "dtype"): Admitted("dtype"),
    ("_codecs", "encode"): Admitted("encode"),
    ("builtins", "bytes"): Admitted("bytes"),
    ("__builtin__", "bytes"): Admitted("bytes"),
}
BYTES_OPCODES = {
    "BINBYTES": 4,
    "SHORT_BINBYTES": 1,
    "BINBYTES8": 8,
    "BYTEARRAY8": 8,
    "BINSTRING": 4,
    "SHORT_BINSTRING": 1,
}
"""Opcodes whose argument stands in the file as it is, and the bytes of the length before it."""
_VALUES = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "FLOAT"}
_TEXT = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE"}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NOTHING = {"PROTO", "FRAME"}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
TYPE_BYTES = 16
"""Longest name of an array type."""
DIMENSIONS = 32
"""Most dimensions of an array."""


class PickleMachine:
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
        while not isinstance(self.stack[place], Mark):
            place -= 1
            if place < 0:
                raise ValueError("a list or tuple ends that never began")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def step(self, name: str, argument: Any, position: int) -> None:
        if name in BYTES_OPCODES or name in _VALUES or name in _TEXT or name == "STRING":
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
        elif isinstance(target, TypeInPickle) and isinstance(state, tuple) and len(state) >= 2:
            order: Literal["<", ">", "="] = state[1] if state[1] in ("<", ">") else "="
            target.dtype = target.dtype.newbyteorder(order)
        else:
            raise self.refused("setting attributes of something that is no plain array", position)

    def reduce(self, _argument: Any, position: int) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Admitted) or not isinstance(arguments, tuple):
            raise self.refused("a call of something that is no plain array", position)
        match function.name, arguments:
            case "array", _:
                made: Any = PlainArray()
            case "dtype", (str(code), *_):
                made = TypeInPickle(self.plain_dtype(code, position))
            case "dtype", (BytesAt() as code, *_):
                made = TypeInPickle(self.plain_dtype(self.text(code, position), position))
            case "scalar", (TypeInPickle() as kind, BytesAt() | bytes() as data):
                made = PlainArray((), kind.dtype, data)
            case "frombuffer", (BytesAt() | bytes() as data, TypeInPickle() as kind, tuple(shape), order):
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
            isinstance(kind, TypeInPickle)
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


_ACTIONS: dict[str, Callable[[PickleMachine, Any, int], None]] = {
    "MARK": lambda machine, *_: machine.stack.append(Mark()),
    "EMPTY_LIST": lambda machine, *_: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, *_: machine.stack.append(()),
    "LIST": lambda machine, *_: machine.stack.append(machine.pop_to_mark()),
    "TUPLE": lambda machine, *_: machine.stack.append(tuple(machine.pop_to_mark())),
    "APPEND": PickleMachine.append,
    "APPENDS": lambda machine, *_: machine.extend(machine.pop_to_mark()),
    "GLOBAL": PickleMachine.global_,
    "STACK_GLOBAL": PickleMachine.stack_global,
    "REDUCE": PickleMachine.reduce,
    "BUILD": PickleMachine.build,
    "BINGET": PickleMachine.get,
    "LONG_BINGET": PickleMachine.get,
    "GET": PickleMachine.get,
    "BINPUT": PickleMachine.put,
    "LONG_BINPUT": PickleMachine.put,
    "PUT": PickleMachine.put,
    "MEMOIZE": PickleMachine.memoize,
    "POP": lambda machine, *_: machine.stack.pop(),
}
