"""Errors arrive in another process as they left: multiprocessing takes them apart, and hangs up where it cannot."""

from __future__ import annotations

import pickle
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from inspect import Parameter, signature

import oaml_core
from oaml_core.errors import OamlError


def below(kind: type[OamlError]) -> Iterator[type[OamlError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from below(one)


def made(kind: type[OamlError]) -> OamlError:
    """An error with a text for each argument that it must have."""
    given = list(signature(kind).parameters.values())
    needed = [one for one in given if one.kind is Parameter.POSITIONAL_OR_KEYWORD and one.default is Parameter.empty]
    return kind(*(f"sentence {number}." for number in range(max(1, len(needed)))))


def test_every_error_is_the_same_in_another_process() -> None:
    for module in pkgutil.walk_packages(oaml_core.__path__, "oaml_core."):
        if module.name.split(".")[1] in ("store", "errors", "photos", "decoding", "data", "inference"):
            import_module(module.name)
    kinds = {*below(OamlError)}
    assert len(kinds) > 15
    for kind in kinds:
        error = made(kind)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
