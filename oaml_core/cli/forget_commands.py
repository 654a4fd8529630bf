"""`oaml forget`: remove a person from everything that a store and this machine keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.amounts import amount
from oaml_core.cli.command import Command
from oaml_core.config import Config
from oaml_core.errors import ConfigError, DataError, StoreError
from oaml_core.whole_file import written_whole

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.forgetting.forget import Forgotten

SHOWN = 20


def _forget(config: Config, options: Any) -> int:
    if options.verify is not None:
        return _verify(options.verify, options.who or [])
    from oaml_core.forgetting.forget import forget
    from oaml_core.forgetting.person import person_of
    from oaml_core.forgetting.place import Case
    from oaml_core.store import open_store

    if options.scan and not options.apply:
        raise ConfigError("--scan looks at what is left after --apply; give both.")
    person = person_of(options.who or [], map(Path, options.images or []))
    store = open_store(config.store)
    if not store.is_made():
        raise StoreError(f"There is nothing at {store.uri}: is the address right?")
    galleries, folders = ([Path(path) for path in paths or []] for paths in (options.gallery, options.folder))
    for path in (*galleries, *folders):
        if not path.exists():
            raise DataError(f"There is no {path}; name files and folders that are there.")
    case = Case(person, store, Path(config.work_dir), galleries, folders)
    done = forget(case, apply=options.apply, scan=options.scan)
    _tell(done)
    if done.receipt is not None:
        with written_whole(Path(options.receipt)) as partial:
            partial.write_bytes(store.read_bytes(done.receipt_uri.removeprefix(f"{store.uri}/")))
        print(f"receipt: {options.receipt} (also {done.receipt_uri})")
    elif done.found:
        print("Nothing was changed. The same command with --apply removes it.")
    return 0


def _tell(done: Forgotten) -> None:
    for each in done.searched:
        print(f"{each.place}: {each.looked_at:,} looked at, {len(each.found):,} found")
        for item in each.found[:SHOWN]:
            print(f"  {item.where}: {item.what}")
        if len(each.found) > SHOWN:
            print(f"  and {len(each.found) - SHOWN:,} more")
    if done.receipt is not None:
        print(f"{amount(len(done.removed), 'object')} and files removed or made again")
    print("remains:")
    for remainder in done.remains:
        print(f"  {remainder.where}: {remainder.why}")


def _verify(path: str, names: list[str]) -> int:
    from oaml_core.forgetting.receipt import receipt_key, verify
    from oaml_core.structured_text import parse_json

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    receipt = parse_json(content, path, "It is no receipt of `oaml forget`.", DataError, needs=["subject"])
    verify(receipt, receipt_key(), names)
    whom = " and is about this person" if names else ""
    print(f"{path} is as it was signed on {receipt['when']}{whom}")
    return 0


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("who", nargs="*", type=str, help="name of an identity, or SHA-256 digests of images")
    parser.add_argument("--images", type=str, nargs="+", default=None, help="images of the person, and folders of them")
    parser.add_argument("--gallery", type=str, nargs="+", default=None, help="files of galleries")
    parser.add_argument("--folder", type=str, nargs="+", default=None, help="more folders with runs and reports")
    parser.add_argument("--apply", action="store_true", help="do it; without it only say what would go")
    parser.add_argument("--scan", action="store_true", help="read every byte afterwards and look for what is left")
    parser.add_argument("--receipt", type=str, default="receipt.json", help="file for the signed receipt")
    parser.add_argument("--verify", type=str | None, default=None, help="check the signature of a receipt")


COMMANDS = {
    "forget": Command("remove a person from data, checkpoints, reports, galleries and caches", _forget, _options)
}
