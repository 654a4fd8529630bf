"""Lists of an environment's packages: an SBOM in CycloneDX, and their licences.

    python -m images.packages sbom --out sbom.json
    python -m images.packages licences

Both read the metadata of the packages that are installed beside this interpreter, and ask nobody else. Inside an
image they describe that image.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from oaml_core.amounts import amount
from oaml_core.orderly_end import end_in_order

SPEC = "1.6"
"""Version of CycloneDX: https://cyclonedx.org/docs/1.6/json/"""
ROOT = "oaml"
UNKNOWN = "not stated"
ATTENTION = (
    (re.compile(r"nvidia|proprietary|cuda", re.I), "proprietary: read its terms before passing it on"),
    (re.compile(r"\bAGPL|affero", re.I), "AGPL: offer the source to users over a network"),
    (re.compile(r"\bL?GPL|lesser general public|general public", re.I), "GPL or LGPL: pass the source on with it"),
    (re.compile(r"\bMPL|mozilla", re.I), "MPL: pass changes to its files on"),
    (re.compile(re.escape(UNKNOWN)), "no licence in its metadata: look into its source"),
)
"""Words of licences that a person has to look at, with the reason; the first that fits counts."""


@dataclass(frozen=True)
class Package:
    """One installed package."""

    name: str
    """Normalised, as in its purl."""
    version: str
    licence: str
    needs: tuple[str, ...]
    """Names of packages that it may need, normalised."""

    @property
    def purl(self) -> str:
        """Package URL: https://github.com/package-url/purl-spec"""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"

    @property
    def attention(self) -> str:
        """Why a person should look at its licence; empty if none needs to."""
        named = self.licence == UNKNOWN or self.name.startswith("nvidia-")
        shown = f"{self.licence} {self.name}" if named else self.licence
        return next((why for pattern, why in ATTENTION if pattern.search(shown)), "")


def normalised(name: str) -> str:
    """Return a name as package indices compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(paths: Sequence[str] | None = None) -> list[Package]:
    """Return all packages of an environment, by name.

    Args:
        paths: folders with their metadata; None: those of this interpreter.
    """
    found = distributions() if paths is None else distributions(path=list(paths))
    packages: dict[str, Package] = {}
    for each in found:
        if each.metadata["Name"]:  # what is half removed has none
            package = _package(each)
            packages.setdefault(package.name, package)  # the first on the path is the one that is imported
    return [packages[name] for name in sorted(packages)]


def _package(found: Distribution) -> Package:
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in found.requires or ())
    needs = sorted({normalised(name[0]) for name in names if name is not None})
    return Package(normalised(found.metadata["Name"]), found.version, _licence(found), tuple(needs))


def _licence(found: Distribution) -> str:
    """Return the licence expression, else the classifiers, else the first line of the licence's text."""
    metadata = found.metadata
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
    telling = [classifier for classifier in classifiers if classifier != "OSI Approved"]
    if telling:
        return ", ".join(telling)
    lines = "\n".join(metadata.get_all("License") or ()).strip().splitlines()
    return lines[0].strip()[:80] if lines and lines[0].strip().upper() not in ("", "UNKNOWN") else UNKNOWN


def sbom(packages: Iterable[Package]) -> dict[str, Any]:
    """Return the bill of materials of an environment; the same packages give the same one."""
    listed = list(packages)
    purls = {package.name: package.purl for package in listed}
    root = next((package for package in listed if package.name == ROOT), None)
    content: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "components": [_component(package, "library") for package in listed if package is not root],
        "dependencies": [
            {"ref": package.purl, "dependsOn": sorted(purls[name] for name in package.needs if name in purls)}
            for package in listed
        ],
    }
    if root is not None:
        content["metadata"] = {"component": _component(root, "application")}
    name = json.dumps(content, sort_keys=True)
    return {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}", **content}


def _component(package: Package, kind: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": kind,
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if package.licence != UNKNOWN:
        component["licenses"] = [{"license": {"name": package.licence}}]
    return component


def licences(packages: Iterable[Package]) -> str:
    """Return a table of all licences, those that need attention first."""
    rows = sorted(packages, key=lambda package: (not package.attention, package.name))
    wanting = [package for package in rows if package.attention]
    width = max((len(f"{p.name} {p.version}") for p in rows), default=0)
    lines = [f"{len(wanting)} of {len(rows)} packages need attention", ""]
    for package in rows:
        if package not in wanting and package is rows[len(wanting)]:
            lines.append("")
        said = f" ({package.attention})" if package.attention else ""
        lines.append(f"{f'{package.name} {package.version}':<{width}}  {package.licence}{said}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the SBOM, or print the licences."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("what", choices=("sbom", "licences"))
    parser.add_argument("--out", type=Path, default=None, help="file; default: standard output")
    given = parser.parse_args(arguments)
    packages = installed()
    text = json.dumps(sbom(packages), indent=1) if given.what == "sbom" else licences(packages)
    if given.out is None:
        sys.stdout.write(f"{text}\n")
    else:
        given.out.write_text(f"{text}\n")
        print(f"{amount(len(packages), 'package')} → {given.out}")


if __name__ == "__main__":
    end_in_order(main)
