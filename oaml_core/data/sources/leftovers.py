"""Unused parts of a source: entries that no reader sees, files that no reader wants, people who vanish."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from oaml_core.amounts import amount, first_of
from oaml_core.counted_entries import Counted
from oaml_core.data.sources.base import SourceFolder, TrainingSource
from oaml_core.data.sources.image_folder import RESERVED, TABLES, ImageFolderSource, identities_below
from oaml_core.data.sources.image_list import LISTS
from oaml_core.data.sources.labelled_list import TRAINING_LISTS
from oaml_core.data.sources.meta import META
from oaml_core.data.sources.recordio_source import RECORDS
from oaml_core.data.sources.verification import set_name
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.data.sources.visibility import FACES, MASKS, VisibilitySource
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.folder_entries import ARCHIVES, EMPTY, LOOP, OF_NOBODY, FolderEntry, is_of_systems, shown

ENDINGS_SHOWN = 8
"""Endings of unused files that are named; the others are counted together."""
HARMLESS = OF_NOBODY | {EMPTY}
"""Reasons that are counted and no warning: who is lost by them is."""


@dataclass(frozen=True)
class Leftovers:
    """Sentences on what is not used."""

    counted: tuple[str, ...] = ()
    """Files and entries by the reason, where nothing is wrong with that."""
    warnings: tuple[str, ...] = ()
    """Entries that cannot be used, and the identities and sets that are lost by it."""


def find_leftovers(
    folder: SourceFolder,
    training: TrainingSource | None,
    verification: Sequence[VerificationSource],
    lost_sets: Collection[str],
    visibility: VisibilitySource | None,
    apart: Collection[str] = (),
) -> Leftovers:
    """Compare what a folder holds with what is read of it.

    Args:
        folder: one of the source's folders.
        training: the training images, if they lie in this folder.
        verification: the sets that lie in it.
        lost_sets: files of sets that cannot be opened, which is told elsewhere.
        visibility: faces and masks, if they lie in it.
        apart: files that another setting names.
    """
    used = {META, *apart, *lost_sets}
    used.update(training.used if training is not None else ())
    for pairs in verification:
        used.update(pairs.used)
    if visibility is not None:
        used.update(name for pair in visibility.pairs for name in (pair.face, pair.mask))
        used.update([*visibility.faces_alone, *visibility.masks_alone])
    unusable, counted = Counted(), Counted()
    for entry in folder.passed_over:
        (counted if entry.reason in HARMLESS else unusable).add(entry.reason or "", entry.name)
    unused = [name for name in folder.files if name not in used]
    loose = _outside_identities(unused, training)
    unread = [name for name in unused if _may_hold_people(PurePosixPath(name))]
    vanished = _lost_parts(folder, training, visibility)
    return Leftovers(
        (*counted.sentences("passed over"), *_unused(set(unused) - {*loose, *unread}), *_deeper(training)),
        (
            *unusable.sentences("passed over"),
            *vanished,
            *_loose(loose),
            *_beside_train(folder, training),
            *_not_read(unread),
        ),
    )


def _outside_identities(unused: Sequence[str], training: TrainingSource | None) -> list[str]:
    """Return images that lie beside the folders of the identities, and so belong to nobody."""
    if not isinstance(training, ImageFolderSource):
        return []
    images = [PurePosixPath(name) for name in unused if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    return [path.as_posix() for path in images if path.parent in (PurePosixPath("."), PurePosixPath(training.below))]


def _loose(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    lie = amount(len(names), "image lies", "images lie")
    return [
        f"{lie} in no folder of an identity, so nobody is known to be on it; the first is {shown(names[0])!r}. Move "
        "each into the folder of its person"
    ]


def _may_hold_people(path: PurePosixPath) -> bool:
    """Return True if a file is an archive, or a table where lists of images and of pairs lie."""
    beside = path.parent.as_posix() in (".", "verification")
    return path.suffix.lower() in ARCHIVES or (beside and path.suffix.lower() in TABLES)


def _not_read(names: Sequence[str]) -> list[str]:
    archives = [name for name in names if PurePosixPath(name).suffix.lower() in ARCHIVES]
    tables = [name for name in names if name not in archives]
    read = f"Lists that are read are called {', '.join((*LISTS, *TRAINING_LISTS))} or <name>_pairs.csv"
    return [
        f"{amount(len(found), f'{kind} is', f'{kind}s are')} not read: {first_of(map(shown, found))}. {remedy}"
        for kind, found, remedy in (("archive", archives, "Unpack them"), ("table", tables, read))
        if found
    ]


def _deeper(training: TrainingSource | None) -> list[str]:
    """Say how many images lie in folders within that of their identity: these may be folders of several people."""
    if not isinstance(training, ImageFolderSource):
        return []
    deep = [row for row, name in enumerate(training.names) if name.count("/") > training.below.count("/") + 1]
    if not deep:
        return []
    first, person = training.names[deep[0]], training.identity_name(int(training.labels[deep[0]]))
    lie = amount(len(deep), "image lies in a folder within that of its", "images lie in folders within that of their")
    return [
        f"{lie} identity and count for it; the first is {shown(first)!r} ({shown(person)}). Where these folders are "
        "of different people, move them up"
    ]


def _unused(names: Iterable[str]) -> list[str]:
    by_ending: dict[str, list[str]] = {}
    for name in sorted(names):
        by_ending.setdefault(PurePosixPath(name).suffix.lower() or "no ending", []).append(name)
    most = sorted(by_ending, key=lambda ending: (-len(by_ending[ending]), ending))
    counted = Counted()
    for place, ending in enumerate(most):
        for name in by_ending[ending]:
            counted.add(f"ending: {ending}" if place < ENDINGS_SHOWN else "other endings", name)
    return counted.sentences("not used", "file", "files")


def _lost_parts(
    folder: SourceFolder, training: TrainingSource | None, visibility: VisibilitySource | None
) -> list[str]:
    """Name the identities, sets and lists that are lost by entries which cannot be used."""
    below = identities_below(folder.files)
    people = {_identity(name, below) for name in folder.files}
    lost = Counted()
    for entry in folder.passed_over:
        if entry.reason not in OF_NOBODY and (found := _lost_list(entry, visibility)) is not None:
            lost.add(*found)
        elif isinstance(training, ImageFolderSource):
            person = _identity(entry.name, below, entry)
            of_nobody = person is None or entry.reason == LOOP or person.startswith(".") or is_of_systems(person)
            if person is not None and not of_nobody and person not in people | RESERVED:
                lost.add("identities", person)
    return [_sentence(kind, sorted(set(names))) for kind, names in lost.names.items()]


def _lost_list(entry: FolderEntry, visibility: VisibilitySource | None) -> tuple[str, str] | None:
    """Return kind and name of the set or list that an entry would have been; None where it is none of them."""
    path = PurePosixPath(entry.name)
    if path.parent.as_posix() in (".", "verification") and (name := set_name(entry.name)) is not None:
        return "verification sets", name
    if entry.name in (RECORDS, *LISTS, *TRAINING_LISTS):
        return "lists of the training images", entry.name
    of_faces = path.parts[:1] and path.parts[0] in RESERVED and {FACES, MASKS, "visibility"} & set(path.parts[:2])
    if visibility is None and of_faces:
        return "visibility sets", "/".join(path.parts[:2])
    return ("verification sets", "all in verification/") if entry.name == "verification" else None


def _sentence(kind: str, names: list[str]) -> str:
    return f"{kind} lost, as nothing of them can be read: {len(names):,} ({first_of(names)}). Mend or remove them"


def _identity(name: str, below: str, entry: FolderEntry | None = None) -> str | None:
    """Return whose folder a file lies in, or whose folder an entry may be; None where it is nobody's."""
    parts = PurePosixPath(name).parts[below.count("/") :] if name.startswith(below) else ()
    if len(parts) > 1:
        return parts[0]
    alone = entry is not None and (entry.is_folder or PurePosixPath(name).suffix == "")
    return parts[0] if parts and alone else None


def _beside_train(folder: SourceFolder, training: TrainingSource | None) -> list[str]:
    """Name folders of images that lie beside `train/`, which holds the identities."""
    if not isinstance(training, ImageFolderSource) or not any(name.startswith("train/") for name in training.names):
        return []
    beside = Counted()
    for name in folder.files:
        path = PurePosixPath(name)
        if len(path.parts) > 1 and path.parts[0] not in (*RESERVED, "train") and path.suffix.lower() in IMAGE_SUFFIXES:
            beside.add("", path.parts[0])
    names = list(dict.fromkeys(beside.names.get("", [])))
    if not names:
        return []
    lie = amount(
        len(names), "folder with images lies beside train/ and is", "folders with images lie beside train/ and are"
    )
    return [f"{lie} not used: {first_of(names)}. Move identities into it"]


def relative_to(folder: SourceFolder, path: str | None) -> list[str]:
    """Return the name of a local file within a folder, if it lies in it; nothing otherwise.

    Args:
        folder: of a source.
        path: of the file, or None.
    """
    top = Path(folder.identity)
    if path is None or folder.is_remote or not Path(path).resolve().is_relative_to(top):
        return []
    return [Path(path).resolve().relative_to(top).as_posix()]
