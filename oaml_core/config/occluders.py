"""Names of drawn occluders and of the sides of a pair that they cover."""

from __future__ import annotations

from typing import Literal

Occluder = Literal["surgical", "cloth", "ffp2", "veil", "sunglasses", "scarf", "hand", "blocks"]
Sides = Literal["second", "both"]
