"""Who is in the pairs of a verification set: told by the set, or inferred from which images are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.prepared.verification import VerificationSet

Source = Literal["given", "inferred"]


class PairIdentities(NamedTuple):
    """Identity numbers of the images of N pairs."""

    first: NDArray[np.int64]
    """[N]"""
    second: NDArray[np.int64]
    """[N]"""
    source: Source
    """`given` by the set, or `inferred`."""
    digest: str
    """Digest of the images and the truth: two sets with the same digest hold the same pairs in the same order."""


def identities_of(pairs: VerificationSet) -> PairIdentities:
    """Identities of a set's images.

    A `.bin` names nobody. Then two images are taken for the same person if they are the same image, to the byte, or
    if a chain of genuine pairs links them. A person whose images no such chain links counts as several, which makes
    intervals narrower than they should be, but never narrower than those over pairs.
    """
    hashes = _hashes(pairs)
    whole = _digest(hashes, pairs.issame.tobytes())
    if pairs.identities is not None:
        return PairIdentities(pairs.identities[0::2], pairs.identities[1::2], "given", whole)
    pictures = _equal_numbers(hashes)
    people = linked(pictures[0::2][pairs.issame], pictures[1::2][pairs.issame], int(pictures.max(initial=-1)) + 1)
    return PairIdentities(people[pictures[0::2]], people[pictures[1::2]], "inferred", whole)


def content_of(pairs: VerificationSet) -> str:
    """Return the digest of all that scores of a set depend on: images, truth and landmarks; 32 hexadecimal digits."""
    landmarks = b"" if pairs.landmarks is None else np.ascontiguousarray(pairs.landmarks).tobytes()
    return _digest(_hashes(pairs), pairs.issame.tobytes() + landmarks)


def _hashes(pairs: VerificationSet) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pairs.images]


def _digest(hashes: list[bytes], rest: bytes) -> str:
    return hashlib.blake2b(b"".join(hashes) + rest, digest_size=16).hexdigest()


def everybody_once(issame: NDArray[np.bool_]) -> PairIdentities:
    """Identities of pairs of which nothing is known but the truth: nobody is in two pairs."""
    first = np.arange(len(issame)) * 2
    return PairIdentities(first, np.where(issame, first, first + 1), "inferred", "")


def linked(one: NDArray[np.int64], other: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return number of the connected component of each of `count` nodes, given the edges one[k] – other[k]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(count, count))
    result: NDArray[np.int64] = connected_components(edges, directed=False)[1].astype(np.int64)
    return result


def _equal_numbers(keys: Iterable[bytes]) -> NDArray[np.int64]:
    """Return a number for each key, the same for equal ones."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
