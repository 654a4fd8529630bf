"""The sum of a listing as it passes, and the sum on the way, by which a listing is known to begin as an earlier one."""

from __future__ import annotations

from hashlib import blake2b

from oaml_core.data.sources.listing import SourceFile

BYTES = 32
EVERY = 16_384
"""Files between two marks."""
MARK = (1 << 64) - 1
"""Part of the sum that a mark keeps: marks save work, and the whole sum decides."""


class ListingSum:
    """Sum of the hashes of files, which does not depend on their order (Clarke et al. 2003, section 4).

    Args:
        use: of the files' folder.
    """

    def __init__(self, use: str) -> None:
        self._use = use
        self._total, self._told_apart = 0, True
        self.count = 0
        """Files that were added."""
        self.marks: list[int] = []
        """The sum's last 64 bits after each `EVERY` files, which depend on the order."""

    def add(self, file: SourceFile) -> bool:
        """Add a file; return True if it made a mark."""
        if not file.stamp:
            self._told_apart = False
        told = f"{self._use}\0{file.name}\0{file.size}\0{file.stamp}".encode(errors="surrogateescape")
        self._total += int.from_bytes(blake2b(told, digest_size=BYTES).digest())
        self.count += 1
        if self.count % EVERY:
            return False
        self.marks.append(self._total & MARK)
        return True

    def total(self) -> int | None:
        """Return the sum; None if a file has no stamp."""
        return self._total if self._told_apart else None
