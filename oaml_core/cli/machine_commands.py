"""`oaml doctor`: the machine that all this runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command
from oaml_core.config import Config

if TYPE_CHECKING:
    pass


def _doctor(config: Config, _: Any) -> int:
    from oaml_core.doctor import diagnose, format_findings

    findings = diagnose(config)
    print(format_findings(findings))
    return 1 if any(finding.state == "fail" for finding in findings) else 0


COMMANDS = {
    "doctor": Command("list what is installed, the GPU, and whether the store answers", _doctor),
}
