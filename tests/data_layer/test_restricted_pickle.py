"""Pickles of plain data are read, all others are refused, and nothing in them runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oaml_core.data.sources.pickled_values import BytesAt, PlainArray
from oaml_core.data.sources.restricted_pickle import read_plain_pickle
from oaml_core.errors import DataError
from tests.data_layer.conftest import DATA

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def resolved(value: object, path: Path) -> object:
    """The value with its noted bytes and arrays read."""
    with path.open("rb") as file:
        if isinstance(value, (BytesAt, PlainArray)):
            return value.read(file)
    if isinstance(value, (list, tuple)):
        return type(value)(resolved(item, path) for item in value)
    return value


def read_back(content: bytes, folder: Path) -> object:
    path = folder / "set.bin"
    path.write_bytes(content)
    return resolved(read_plain_pickle(path), path)


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.binary(max_size=300), st.text(max_size=20)),
    lambda children: st.one_of(st.lists(children, max_size=5), st.lists(children, max_size=4).map(tuple)),
)


@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_values_of_every_protocol_come_back(tmp_path_factory: pytest.TempPathFactory, value, protocol) -> None:
    folder = tmp_path_factory.mktemp("pickle")
    assert read_back(pickle.dumps(value, protocol), folder) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "<i8", "?"])
def test_arrays_of_numbers_come_back(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    for value in (array, np.asfortranarray(array)):
        read = read_back(pickle.dumps([value], protocol), tmp_path)
        np.testing.assert_array_equal(read[0], array)  # type: ignore[index]
        assert read[0].dtype == array.dtype  # type: ignore[index]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_booleans_come_back(tmp_path: Path, protocol: int) -> None:
    assert read_back(pickle.dumps([np.True_, np.False_], protocol), tmp_path) == [True, False]


def test_strings_of_python_2_are_bytes(tmp_path: Path) -> None:
    jpeg = bytes(range(256)) * 2
    binary = b"\x80\x02]q\x00(T" + struct.pack("<i", len(jpeg)) + jpeg + b"U\x03abce]q\x01(\x88\x89e\x86q\x02."
    assert read_back(binary, tmp_path) == ([jpeg, b"abc"], [True, False])
    text = b"((lp0\nS'\\xff\\xd8jpeg'\np1\naS'two'\np2\na(lp3\nI01\naI00\natp4\n."
    assert read_back(text, tmp_path) == ([b"\xff\xd8jpeg", b"two"], [True, False])


class Harmful:
    """Runs a command when it is unpickled in the usual way."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, __import__])
def test_a_pickle_that_calls_something_is_refused_and_runs_nothing(tmp_path, protocol, function) -> None:
    trace = tmp_path / "ran"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    path = tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps(([Harmful(function, argument)], [True]), protocol))
    with pytest.raises(DataError, match=rf"evil\.bin asks for `.*{function.__name__}`.*nothing in it was run"):
        read_plain_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cnumpy\nndarray\n}U\x01xU\x01ysb.",  # attributes of an admitted class
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nR.",  # call with no tuple
        b"\x80\x02cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",  # objects in an array
        b"\x80\x02cnumpy\ndtype\n(U\x02V8tR.",
        b"\x80\x02(cposix\nsystem\nU\x02idi.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"(S'id'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'id'\no.",  # OBJ
        b"cos\nsystem\n)\x81.",  # NEWOBJ
        b"\x82\x01.",  # EXT1
        b"Pid\n.",  # persistent id
        b"\x80\x05}\x97.",  # out-of-band buffer
    ],
)
def test_every_other_way_to_reach_a_function_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "evil.bin").write_bytes(content)
    with pytest.raises(DataError):
        read_plain_pickle(tmp_path / "evil.bin")


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_arbitrary_bytes_give_a_value_or_a_named_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "set.bin"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        read_plain_pickle(path)


@given(st.integers(0, 3000), st.integers(0, 7))
@settings(max_examples=200)
def test_a_flipped_bit_gives_a_value_or_a_named_error(tmp_path_factory, byte: int, bit: int) -> None:
    data = bytearray((DATA / "small_lfw.bin").read_bytes())
    data[byte if byte < 1500 else -byte + 1499] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "set.bin"
    path.write_bytes(bytes(data))
    with contextlib.suppress(DataError):
        read_plain_pickle(path)


HEAD = b"\x80\x04"
TYPE = b"cnumpy\ndtype\n"
FLOODS = {
    "values": HEAD + b"N" * 2_000_000 + b".",
    "memo": HEAD + b"N" + b"\x94" * 2_000_000 + b".",
    "types in the memo": HEAD
    + TYPE
    + b"X\x02\0\0\0f4\x85R"
    + b"\x94" * 100_000
    + b"(K\x03X\x01\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb" * 100_000
    + b".",
    "types with long names": HEAD + b"B" + struct.pack("<I", 10**6) + b"f" * 10**6 + b"\x85\x94" + TYPE + b"h\0R.",
    "a text that is encoded on and on": HEAD
    + b"X"
    + struct.pack("<I", 10**6)
    + b"f" * 10**6
    + b"\x85\x940"
    + b"c_codecs\nencode\n\x940"
    + b"h\x01h\0R0" * 30_000
    + b"N.",
    "marks": HEAD + b"(" * 2_000_000 + b".",
}


@pytest.mark.parametrize("content", FLOODS.values(), ids=FLOODS)
def test_floods_are_refused_before_they_cost_much(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flood.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"flood\.bin asks for"):
        read_plain_pickle(path)


def test_a_set_of_many_small_images_is_no_flood(tmp_path: Path) -> None:
    images, same = [b"x" * 700 for _ in range(60_000)], [True, False] * 15_000
    with (tmp_path / "set.bin").open("wb") as file:
        pickle.dump((images, same), file, protocol=4)
    read = read_plain_pickle(tmp_path / "set.bin")
    assert (len(read[0]), len(read[1])) == (60_000, 30_000)
