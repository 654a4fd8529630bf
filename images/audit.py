"""Known vulnerabilities of the pinned packages, asked of a vulnerability service by pip-audit.

    python -m images.audit

Exit code 0: none is known; 1: some are; 2: not all packages could be asked about, so that nothing is known of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oaml_core.orderly_end import end_in_order

REPO = Path(__file__).resolve().parents[1]
CONSTRAINTS = REPO / "constraints.txt"
NONE_KNOWN, FOUND, NOT_ASKED = 0, 1, 2
MISSING = "No module named pip_audit"
REMEDY = "Run it where pypi.org answers, or name a proxy in HTTPS_PROXY."
SHOWN = 5
Asked = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it said."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def audit(constraints: Path = CONSTRAINTS, ask: Asked = run) -> tuple[int, str]:
    """Return the exit code and what to say.

    Args:
        constraints: pinned packages, `name==version` per line.
        ask: runs pip-audit.
    """
    options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    done = ask([sys.executable, "-m", "pip_audit", "-r", str(constraints), *options])
    if MISSING in done.stderr:
        return NOT_ASKED, "pip-audit is not installed, and nothing was audited. `pip install pip-audit` brings it."
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return NOT_ASKED, f"The vulnerability service gave no answer, and nothing was audited: {last[:300]} {REMEDY}"
    return _judged(packages)


def _judged(packages: Sequence[dict[str, Any]]) -> tuple[int, str]:
    """Return the exit code and what to say of pip-audit's list; a package that was skipped was not audited."""
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        named = ", ".join(skipped[:SHOWN]) + (", …" if len(skipped) > SHOWN else "")
        lines.append(f"{len(skipped)} of {len(packages)} packages could not be audited: {named}. {REMEDY}")
    if not packages:
        lines.append("No package was audited: the constraints name none.")
    code = FOUND if any("vulns" in p and p["vulns"] for p in packages) else NOT_ASKED if lines else NONE_KNOWN
    return code, "\n".join(lines) or f"No vulnerability of {len(packages)} packages is known."


def main() -> None:
    """Audit the constraints, and exit with the outcome."""
    code, text = audit()
    print(text, file=sys.stdout if code == NONE_KNOWN else sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    end_in_order(main)
