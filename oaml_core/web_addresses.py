"""Addresses of servers that a user wrote, taken apart in one place."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from oaml_core.errors import ConfigError


def web_address(text: str, key: str, example: str) -> SplitResult:
    """Return the parts of the address of a server.

    Args:
        text: what the user wrote.
        key: setting, environment variable or place in a file that it was read from.
        example: how it must read.

    Raises:
        ConfigError: it begins with neither `http://` nor `https://`, names no host, or has brackets or a port that
            cannot be. The message names the key alone, as an address may be a secret.

    Example:
        >>> web_address("http://[::1]:8080/in", "OAML_WEBHOOK_URL", "https://host/path").port
        8080
    """
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of brackets that do not close or hold no address, and of ports that are none
        is_whole = False
    if not is_whole:
        raise ConfigError(f"{key} must read {example}, with a host that can be and a port from 1 to 65535, if any.")
    return parts
