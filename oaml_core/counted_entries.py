"""Entries of folders that are left out, counted by the reason."""

from __future__ import annotations

from oaml_core.amounts import amount
from oaml_core.printable_names import shown


class Counted:
    """Entries by a reason: how many there are, and the first of them."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count the entry `name` among those left out for `reason`."""
        self.names.setdefault(reason, []).append(shown(name))

    def sentences(self, done: str, one: str = "entry", more: str = "entries") -> list[str]:
        """Return a sentence per reason.

        Args:
            done: what was done with them, such as `passed over`.
            one: noun for one of them.
            more: noun for several.
        """
        return [
            f"{amount(len(names), f'{one} is', f'{more} are')} {done} ({reason}); the first is '{names[0]}'"
            for reason, names in self.names.items()
        ]
