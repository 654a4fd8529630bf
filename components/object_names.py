"""Names and values as the Kubernetes API server accepts them, so that a cluster file is refused here and not at night.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and …/labels/.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal

from oaml_core.errors import ConfigError

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
QUALIFIED = rf"((?=[^/]{{1,253}}/){_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-\w.]{{0,61}}[A-Za-z0-9])?"
LABEL_KEY = re.compile(QUALIFIED, re.ASCII)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
DATA_KEY = re.compile(r"(?!\.\.?$)[-\w.]{1,253}", re.ASCII)
VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([kMGTPE]|[KMGTPE]i)?")
"""Bytes, https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without exponents; nor
thousandths, which are mistyped millions: `512m` is half a byte."""
CPU = re.compile(r"(\d+(?:\.\d+)?)|(\d+)m")
PATH = re.compile(r"/[^:]*")
_FOLDER = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(rf"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:\d+)?/)?{_FOLDER}(/{_FOLDER})*")
"""Registry and path of an image without its tag, https://pkg.go.dev/github.com/distribution/reference."""
TAG_OR_DIGEST = re.compile(r"(:\w[-.\w]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,})?$", re.ASCII)
LARGEST_USER = 2**31 - 1


def check_subdomain(key: str, name: str | None) -> None:
    """Refuse a name that no Secret, account, class or queue can have; None passes.

    Raises:
        ConfigError: names `key`.
    """
    if name is not None and not DNS_SUBDOMAIN.fullmatch(name):
        raise ConfigError(f"{key} is {name!r}; it must be lower-case letters, digits, '-' and '.', at most 253.")


def check_label(place: str, key: str, value: str | None) -> None:
    """Refuse a label of a node or pod, or a taint, that cannot be.

    Raises:
        ConfigError: names `place` and the label.
    """
    if not LABEL_KEY.fullmatch(key):
        raise ConfigError(f"{place}: {key!r} is no name of a label or annotation, such as example.com/team.")
    if value is not None and not LABEL_VALUE.fullmatch(value):
        raise ConfigError(
            f"{place}: the value {value!r} of {key} must be at most 63 letters, digits, '-', '_' and '.', and begin "
            "and end with a letter or digit."
        )


def check_variables(place: str, names: Mapping[str, str]) -> None:
    """Refuse environment variables that cannot be, or that two keys give.

    Args:
        place: key of the cluster file that they stand below.
        names: name of the variable by where it comes from.

    Raises:
        ConfigError: names the variable.
    """
    first: dict[str, str] = {}
    for origin, name in names.items():
        if not VARIABLE.fullmatch(name):
            raise ConfigError(f"{place}: {name!r} is no name of an environment variable, such as AWS_REGION.")
        if (other := first.setdefault(name, origin)) != origin:
            raise ConfigError(f"{place}: both {other} and {origin} give {name}; leave one of them out.")


def check_bytes(key: str, value: str | None) -> Decimal | None:
    """Return a quantity of memory or disk in bytes; None for None.

    Raises:
        ConfigError: names `key`.
    """
    if value is None:
        return None
    found = QUANTITY.fullmatch(value)
    if found is None:
        raise ConfigError(f"{key} is {value!r}; it must be a quantity such as 512Mi or 16Gi.")
    unit = found[2] or ""
    power = " KMGTPE".index(unit[:1].upper()) if unit else 0
    return Decimal(found[1]) * Decimal(1024 if unit.endswith("i") else 1000) ** power


def check_cores(key: str, value: str | None) -> Decimal | None:
    """Return a number of processor cores; None for None.

    Raises:
        ConfigError: names `key`.
    """
    if value is None:
        return None
    found = CPU.fullmatch(value)
    if found is None:
        raise ConfigError(f"{key} is {value!r}; it must be a number of cores such as 4, 0.5 or 500m.")
    return Decimal(found[1]) if found[1] else Decimal(found[2]) / 1000


def check_limit(place: str, what: str, asked: Decimal | None, most: Decimal | None) -> None:
    """Refuse a limit below what is asked for.

    Raises:
        ConfigError: names both keys.
    """
    if asked is not None and most is not None and most < asked:
        raise ConfigError(f"{place}.{what}_limit is less than {place}.{what}, which is asked for: raise it.")


def check_mount(key: str, path: str, taken: Collection[str]) -> None:
    """Refuse a path at which no volume can be mounted.

    Args:
        key: of the cluster file.
        path: of the volume.
        taken: paths at which pods have other volumes.

    Raises:
        ConfigError: names `key`.
    """
    if not PATH.fullmatch(path) or ".." in path.split("/"):
        raise ConfigError(f"{key} is {path!r}; it must be an absolute path without ':' and '..'.")
    if (path.rstrip("/") or "/") in ("/", *taken):
        raise ConfigError(f"{key} is {path!r}, which is taken: name another folder.")


def check_user(key: str, number: int | None) -> None:
    """Refuse a user or group that no process can have.

    Raises:
        ConfigError: names `key`.
    """
    if number is not None and not 0 <= number <= LARGEST_USER:
        raise ConfigError(f"{key} is {number}; it must be from 0 to {LARGEST_USER}.")


def check_image(key: str, name: str) -> None:
    """Refuse the reference of an image, or its beginning, that no node can pull.

    Raises:
        ConfigError: names `key`.
    """
    path = TAG_OR_DIGEST.sub("", name)
    if not IMAGE.fullmatch(path):
        raise ConfigError(
            f"{key} is {name!r}; it must be a registry and a path in lower case, such as registry.example.com/team."
        )
