"""Arrays as one object of a store, and beside them what JSON can say."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import read_arrays as load_arrays
from oaml_core.errors import StoreError
from oaml_core.structured_text import Needs, parse_json

if TYPE_CHECKING:
    from oaml_core.store.base import Store

Arrays = Mapping[str, NDArray[Any]]


def write_arrays(store: Store, key: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Put arrays into the store, and `about` beside them, as one object."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez(buffer, about=text, **arrays)  # type: ignore[arg-type]
    store.write_bytes(key, buffer.getvalue())


def read_arrays(
    store: Store, key: str, remedy: str, needs: Needs = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the mapping that `write_arrays` has put.

    Args:
        store: has the object.
        key: of the object.
        remedy: a sentence of the error message: what the user can do.
        needs: keys that the mapping must have, see `parse_json`.

    Raises:
        StoreError: it is missing or damaged.
    """
    arrays = load_arrays(store.read_bytes(key), store.url(key), remedy, StoreError)
    if "about" not in arrays:
        raise StoreError(f"{store.url(key)} is damaged: it lacks what its arrays are of. {remedy}")
    about = arrays.pop("about").tobytes()
    return arrays, parse_json(about, store.url(key), remedy, StoreError, needs)
