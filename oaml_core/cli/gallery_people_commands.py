"""The actions of `oaml gallery` on people and their faces: deleted, merged, renamed, moved and split."""

from __future__ import annotations

from typing import Any

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ConfigError

MOST_DIGITS = 19
"""Numbers of so many digits need not fit SQLite's integers, which have 64 bits."""


def remove(config: Config, options: Any) -> int:
    """Delete a person, or one face."""
    from oaml_core.inference.gallery.database import Gallery

    if (options.what is None) == (options.key is None):
        raise ConfigError("oaml gallery rm takes the name of a person, or --key K of one face.")
    key = None if options.key is None else one_key(options)
    with Gallery(options.gallery) as gallery:
        if key is None:
            print(f"{options.what} is deleted, with {amount(gallery.remove_person(options.what), 'face')}")
        else:
            gallery.remove_face(key)
            print(f"face {key} is deleted")
    return 0


def merge(config: Config, options: Any) -> int:
    """Give all faces of a person to another one."""
    from oaml_core.inference.gallery.database import Gallery

    name, into = one_word(options, "a person"), options.person
    if into is None:
        raise ConfigError("oaml gallery merge takes --person NAME, who gets the faces.")
    with Gallery(options.gallery) as gallery:
        print(
            f"{amount(gallery.merge(name, into), f'face of {name} belongs', f'faces of {name} belong')} to {into} now"
        )
    return 0


def rename(config: Config, options: Any) -> int:
    """Give a person another name."""
    from oaml_core.inference.gallery.database import Gallery

    name, new = one_word(options, "a person"), options.person
    if new is None:
        raise ConfigError("oaml gallery rename takes --person NAME, the new name.")
    with Gallery(options.gallery) as gallery:
        print(f"{name} is called {new.strip()} now, with {amount(gallery.rename(name, new), 'face')}")
    return 0


def move(config: Config, options: Any) -> int:
    """Give one face to another person."""
    from oaml_core.inference.gallery.database import Gallery

    if options.key is None or options.person is None:
        raise ConfigError("oaml gallery move takes --key K, a face, and --person NAME, who gets it.")
    key = one_key(options)
    with Gallery(options.gallery) as gallery:
        gallery.move_face(key, options.person)
    print(f"face {key} belongs to {options.person} now")
    return 0


def split(config: Config, options: Any) -> int:
    """Give some faces of a person to a new one."""
    from oaml_core.inference.gallery.database import Gallery

    name, new = one_word(options, "a person"), options.person
    if options.key is None or new is None:
        raise ConfigError("oaml gallery split takes --key K,L,…, faces of NAME, and --person NEW, whose they are.")
    keys = face_keys(options)
    with Gallery(options.gallery) as gallery:
        moved = gallery.split(name, keys, new)
    print(f"{amount(moved, f'face of {name} belongs', f'faces of {name} belong')} to {new.strip()} now")
    return 0


def one_word(options: Any, missing: str) -> str:
    """Return the word after the gallery, for actions that need one.

    Raises:
        ConfigError: it is not there; the message says what it would be.
    """
    if not options.what:
        raise ConfigError(f"oaml gallery {options.action} {options.gallery} takes one more word: {missing}.")
    return str(options.what)


def one_key(options: Any) -> int:
    """Return the face that `--key` names, for actions that take one.

    Raises:
        ConfigError: it names several, or is something else.
    """
    keys = face_keys(options)
    if len(keys) != 1:
        raise ConfigError(f"oaml gallery {options.action} takes one face, --key K; --key {options.key} names several.")
    return keys[0]


def face_keys(options: Any) -> list[int]:
    """Return the faces that `--key` names: numbers with commas between them.

    Raises:
        ConfigError: it is something else.
    """
    words = [word.strip() for word in options.key.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < MOST_DIGITS for word in words):
        raise ConfigError(
            f"--key {options.key} is no number of a face: `oaml gallery ls G NAME` shows them. Several: --key 3,5."
        )
    return [int(word) for word in words]
