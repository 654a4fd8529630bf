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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from oaml_core.amounts import amount
from oaml_core.data.sources.pickle_machine import BYTES_OPCODES, PickleMachine
from oaml_core.data.sources.pickled_values import BytesAt
from oaml_core.errors import DataError

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


STEPS = 200_000
"""Steps that a pickle of any size may take; an image takes about five."""
STEPS_PER_BYTE = 0.02
"""Further steps per byte: encoded images have hundreds of bytes each."""


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
    machine = PickleMachine(path, size)
    most = STEPS + int(STEPS_PER_BYTE * size)
    with path.open("rb") as file:
        try:
            for count, (name, argument, position) in enumerate(_opcodes(file, size)):
                if count > most:
                    raise machine.refused(f"more than {amount(most, 'step')} for {amount(size, 'byte')}", position)
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
        if opcode.name in BYTES_OPCODES:
            length = int.from_bytes(file.read(BYTES_OPCODES[opcode.name]), "little")
            argument: Any = BytesAt(file.tell(), length)
            if argument.offset + length > size:
                raise ValueError(
                    f"{amount(length, 'byte')} announced at byte {position}, {size - argument.offset} are there"
                )
            file.seek(length, os.SEEK_CUR)
        elif opcode.name == "STRING":  # the library reads ASCII only; Python 2 wrote images so
            argument = codecs.escape_decode(file.readline().strip()[1:-1])[0]
        else:
            argument = opcode.arg.reader(file) if opcode.arg else None
        yield opcode.name, argument, position
