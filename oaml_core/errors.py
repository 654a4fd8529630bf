"""The errors that a user can cause. Each message names what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from oaml_core.amounts import amount
from oaml_core.folder_entries import shown

LONGEST_WORD = 2_000
"""Characters without a blank that a message quotes: keys of stores and paths are shorter."""
LONGEST_NAME = 200
"""Characters of a name for which similar ones are looked for: the work grows with its square."""


NEAR = 0.6
"""Likeness, 0 to 1, of a mistyped key to the one that is suggested."""
LAST_PART_NEAR = 0.75
"""Likeness to a key's last part that makes it worth suggesting: short words resemble one another by chance."""


class OamlError(Exception):
    """Base of all errors that the command line prints without a traceback.

    Args:
        *words: the message.
        here: more for who sits at the machine: paths and commands. Callers of a service are not told it.
    """

    exit_code = 1

    def __init__(self, *words: object, here: str = "") -> None:
        super().__init__(*words)
        self.here = here

    @property
    def for_callers(self) -> str:
        """The message without paths and commands of this machine."""
        return self._shown(super().__str__())

    def __str__(self) -> str:
        r"""Return the message; control characters but line breaks are escaped, and what is too long is cut.

        Example:
            >>> print(DataError("a\x1b[2Jb"))
            a\x1b[2Jb
        """
        return self._shown(" ".join(filter(None, [super().__str__(), self.here])))

    @staticmethod
    def _shown(message: str) -> str:
        lines = message.split("\n")
        return "\n".join(" ".join(map(_cut, shown(line).split(" "))) for line in lines)


class ConfigError(OamlError):
    """A configuration key or value that does not exist or does not fit the others."""

    exit_code = 2


class DataError(OamlError):
    """A data file, record, label or mask that cannot be used."""


class NotInGallery(DataError):
    """A person or a face that the gallery does not hold."""


class GalleryMoved(DataError):
    """A gallery is of another model now than the one that reads it."""


class GalleryLocked(DataError):
    """A gallery is encrypted, and its key is missing or another one."""


class Withdrawn(OamlError):
    """A change was taken back before it was made: nobody waits for it any more."""


class OverBudget(OamlError):
    """A night that may not begin, or go on, because its budget or the month's is spent."""


class NotBegun(OamlError):
    """A night that a guard does not let begin: too many have failed, or a disk is nearly full."""


class StoreError(OamlError):
    """An artifact store that cannot be reached, or an object in it that is missing or damaged."""


class HeldError(StoreError):
    """A run, or a name in a store, that somebody else works on, or has taken over."""


class ModelInputError(OamlError, ValueError):
    """A tensor whose shape, range, type or device a model, head, matcher or loss does not accept."""


class CheckpointError(OamlError):
    """A checkpoint that is incomplete, of another model, or of another data set or configuration."""


class NonFiniteLossError(OamlError):
    """Training stopped because a loss term stayed NaN or infinite."""


class EvaluationError(OamlError):
    """Scores or labels that a protocol cannot be computed from."""


class ExportError(OamlError):
    """An exported model that does not do what the trained one does."""


class ClusterError(OamlError):
    """A cluster that cannot be reached or refuses a training job, or a training job that failed there."""


class ImageError(OamlError):
    """A container image that cannot be built or pushed."""


def _cut(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else f"{word[:100]}… ({amount(len(word), 'character')})"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint `` Did you mean 'x'?`` for a mistyped name, or an empty string if nothing is near."""
    if len(name) > LONGEST_NAME:
        return ""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def nearest_key(name: str, known: Iterable[str]) -> str:
    """Return a hint as `nearest` does for a mistyped key or option, or for a placeholder such as `{lr}`.

    Args:
        name: what was written; characters that no key has do not count.
        known: keys with dots, `optim.lr`, or options, `--optim.lr`. A key's last part alone finds the key.
    """
    if len(name) > LONGEST_NAME:
        return ""
    bare = re.sub(r"[^\w.]", "", name.strip("-").replace("-", "_")).strip("._").lower()
    keys = list(known)
    leaf = bare.rpartition(".")[2]

    def likeness(key: str) -> tuple[float, float]:
        plain = key.lstrip("-").replace("-", "_").lower()
        whole, last = _likeness(bare, plain), _likeness(leaf, plain.rpartition(".")[2])
        return max(whole, last if last >= LAST_PART_NEAR else 0.0), whole

    best = max(keys, key=likeness, default=None)
    return f" Did you mean {best!r}?" if best is not None and likeness(best)[0] >= NEAR else ""


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
