"""`oaml store ls|get|put|verify|link|pin|unpin|gc`: what lies in the store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oaml_core.amounts import amount
from oaml_core.cli.command import Command
from oaml_core.config import Config
from oaml_core.errors import ConfigError, StoreError
from oaml_core.folder_entries import shown

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.store import ObjectInfo, Store


class Action(NamedTuple):
    """One action of `oaml store`: its operands and the function that runs it."""

    operands: str
    run: Callable[[Store, list[str], Any], int]


def _store(config: Config, options: Any) -> int:
    from oaml_core.store import open_store

    action = ACTIONS[options.action]
    words = action.operands.split()
    needed = [word for word in words if not word.startswith("[")]
    given = list(options.operands or [])
    if not len(needed) <= len(given) <= len(words):
        raise ConfigError(f"It reads: oaml store {options.action} {action.operands}")
    store = open_store(config.store)
    if options.action != "put" and not store.is_made():
        raise StoreError(f"There is nothing at {store.uri}: is the address right? `oaml store put` makes a new store.")
    return action.run(store, given, options)


def _ls(store: Store, operands: list[str], options: Any) -> int:
    prefix = operands[0] if operands else ""
    count = total = 0
    for info in store.list(prefix):
        print(_line(info))
        count, total = count + 1, total + info.size
    if options.all:
        for info in store.unfinished():
            if info.key.startswith(prefix):
                print(f"{_line(info)}  (not ended)")
    print(f"{total:>14,}  bytes in {amount(count, 'object')} of {store.uri}")
    return 0


def _line(info: ObjectInfo) -> str:
    when = f"{info.modified:%Y-%m-%d %H:%M}" if info.modified else ""
    return f"{info.size:>14,}  {when:<16}  {shown(info.key)}"


def _get(store: Store, operands: list[str], _: Any) -> int:
    key = operands[0].rstrip("/")
    target = Path(operands[1] if len(operands) > 1 else key.rpartition("/")[2])
    if store.exists(key):
        target = target / key.rpartition("/")[2] if target.is_dir() else target
        store.get_file(key, target)
    else:
        store.get_tree(key, target)
    print(shown(target))
    return 0


def _put(store: Store, operands: list[str], options: Any) -> int:
    source, key = Path(operands[0]), operands[1].rstrip("/")
    if source.is_dir():
        store.put_tree(source, key, leave=options.follow_links)
    else:
        store.put_file(source, key)
    print(shown(store.url(key)))
    return 0


def _verify(store: Store, operands: list[str], _: Any) -> int:
    from oaml_core.progress import progress

    prefix = operands[0] if operands else ""
    keys = [info.key for info in store.list(prefix)]
    if prefix and not keys:
        raise StoreError(f"There is nothing below {store.url(prefix.rstrip('/'))}.")
    found: dict[bool | None, int] = {True: 0, False: 0, None: 0}
    with ThreadPoolExecutor(4) as pool:
        for key, intact in zip(keys, progress(pool.map(store.is_intact, keys), len(keys), "verify"), strict=True):
            found[intact] += 1
            if intact is False:
                print(f"damaged  {shown(store.url(key))}")
    print(f"{found[True]:,} intact, {found[False]:,} damaged, {found[None]:,} put by others, of which no sum is known")
    return 1 if found[False] else 0


def _span(option: str, value: float) -> timedelta:
    unit = "days" if option.endswith("days") else "hours"
    try:
        return timedelta(**{unit: value})
    except OverflowError:
        raise ConfigError(f"--{option} is {value:g}; no machine counts so many {unit}.") from None


def _link(store: Store, operands: list[str], options: Any) -> int:
    print(store.link(operands[0], _span("hours", options.hours)))
    return 0


def _pin(store: Store, operands: list[str], _: Any) -> int:
    from oaml_core.stages.collect_garbage import pin

    pin(store, operands[0])
    print(f"runs/{operands[0]} is kept until `oaml store unpin {operands[0]}`")
    return 0


def _unpin(store: Store, operands: list[str], _: Any) -> int:
    from oaml_core.stages.collect_garbage import unpin

    unpin(store, operands[0])
    print(f"runs/{operands[0]} is kept no longer than others")
    return 0


def _gc(store: Store, _: list[str], options: Any) -> int:
    from oaml_core.stages.collect_garbage import find_garbage, remove

    garbage = find_garbage(store, options.nights, _span("young_days", options.young_days))
    for group, why in sorted(garbage.kept.items()):
        if not group.startswith("datasets/files/"):
            print(f"kept     {shown(group)}: {shown(why)}")
    for info in garbage.objects:
        print(f"{'removed' if options.delete else 'garbage':<8} {shown(info.key)}")
    what = (
        f"{amount(len(garbage.objects), 'object')}, {amount(garbage.size, 'byte')}, "
        f"{amount(len(garbage.uploads), 'unfinished upload')}"
    )
    if options.delete:
        remove(store, garbage)
        print(f"removed {what}")
    else:
        print(f"nothing refers to {what}; nothing was removed: --delete removes them")
    return 0


ACTIONS = {
    "ls": Action("[PREFIX]", _ls),
    "get": Action("KEY [PATH]", _get),
    "put": Action("PATH KEY", _put),
    "verify": Action("[PREFIX]", _verify),
    "link": Action("KEY", _link),
    "pin": Action("RUN", _pin),
    "unpin": Action("RUN", _unpin),
    "gc": Action("", _gc),
}


def _store_options(parser: ArgumentParser) -> None:
    usage = ", ".join(f"{name} {action.operands}".strip() for name, action in ACTIONS.items())
    parser.add_argument("action", choices=tuple(ACTIONS), help=usage)
    parser.add_argument("operands", nargs="*", type=str, help="keys, relative to --store, and paths")
    parser.add_argument("--hours", type=float, default=24.0, help="link: how long it is valid, up to 168")
    parser.add_argument("--nights", type=int, default=7, help="gc: runs of models in production since then are kept")
    parser.add_argument("--young_days", type=float, default=2.0, help="gc: what was put since then is kept")
    parser.add_argument("--all", action="store_true", help="ls: also what was begun to be put and not ended")
    parser.add_argument("--follow_links", action="store_true", help="put: also links that lead out of the folder")
    parser.add_argument("--delete", action="store_true", help="gc: remove; without it only say what would go")


COMMANDS = {
    "store": Command("list, fetch, check, link and tidy what is in the store", _store, _store_options),
}
