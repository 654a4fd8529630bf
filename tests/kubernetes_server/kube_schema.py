"""Validates objects against the schema of their CustomResourceDefinition, as an API server does, but strictly."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]
CRDS = Path(__file__).parents[1] / "data" / "crds"
SCALED = ("pytorchjobs", "trainjobs")


@cache
def crd(plural: str) -> Json:
    """The CustomResourceDefinition of `pytorchjobs` or `trainjobs`."""
    return json.loads(gzip.decompress((CRDS / f"{plural}.json.gz").read_bytes()))


def scale_path(plural: str) -> list[str] | None:
    """Keys of the number of replicas, for the `scale` sub-resource; None: the resource has none."""
    found = crd(plural)["spec"]["versions"][0].get("subresources", {}).get("scale") if plural in SCALED else None
    return found and found["specReplicasPath"].strip(".").split(".")


def schema_errors(plural: str, item: Json) -> list[str]:
    """What is wrong with `item`: wrong types and values, missing fields, and fields that the schema does not know."""
    return [
        f"{'.'.join(str(part) for part in error.absolute_path) or '<root>'}: {error.message}"
        for error in _validator(plural).iter_errors(item)
    ]


@cache
def _validator(plural: str) -> Draft202012Validator:
    schema = crd(plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    strict = _strict(schema)
    strict["properties"]["metadata"] = {"type": "object"}
    return Draft202012Validator(strict)


def _strict(node: Any) -> Any:
    """A structural schema as JSON schema in which an unknown field is an error."""
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: _strict(value) for key, value in node.items()}
    if "properties" in made and isinstance(made["properties"], dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", bool(made.get("x-kubernetes-preserve-unknown-fields")))
    return made
