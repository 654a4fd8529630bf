"""Keeps credentials out of what a worker's log says in ours."""

from __future__ import annotations

import os
import re

CREDENTIAL = re.compile(r"(KEY|SECRET|TOKEN|PASSWORD|CREDENTIALS?)(_ID)?$")
"""Names of environment variables whose values are nobody's business."""
SHORTEST = 6
"""Shorter values are not looked for: they would be found in innocent words."""


def redacted(text: str) -> str:
    """`text` without the values of the credentials in this process' environment, which the workers have as well."""
    for name, value in os.environ.items():
        if CREDENTIAL.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, f"[{name}]")
    return text
