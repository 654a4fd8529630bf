"""Find the verification sets of a source and open them, in whichever form they lie there.

| form | module |
|---|---|
| InsightFace's `.bin`, `<name>_pairs.csv`, LFW's `pairs.txt` | `verification_files` |
| memfiles of AdaFace's tools and of `oaml prepare` | `verification_memfile` |
| pairs or labelled images in WebDataset shards or Parquet | `verification_shards` |
| lists of labelled images: `val.txt`, `val.lst` | `labelled_list` |
"""

from __future__ import annotations

from pathlib import PurePosixPath

from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.labelled_list import LabelledListSource, is_labelled_list
from oaml_core.data.sources.labelled_pairs import pair_labelled
from oaml_core.data.sources.lfw import LFW_LISTS
from oaml_core.data.sources.verification_files import PAIRS_SUFFIX, open_file_set
from oaml_core.data.sources.verification_memfile import TRUTH_SUFFIX, memfile_set, open_memfile_set
from oaml_core.data.sources.verification_shards import SHARD_SUFFIXES, open_sharded_set, sharded_set
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.errors import DataError

BENCHMARKS = ("lfw", "agedb_30", "cfp_fp", "calfw", "cplfw")
"""The five sets that published tables report, by the names of their `.bin` files."""
FOLDS = 10
"""Folds of the published protocol."""
FEWEST_OF_A_KIND = 2
"""Genuine and impostor pairs that a set needs: each kind once in a fold that is judged and once in the others."""
FOLDERS = (".", "verification")
VALIDATION_LISTS = tuple(f"{split}{ending}" for split in ("val", "validation", "test") for ending in (".txt", ".lst"))


def folds_of(pairs: int) -> int:
    """Return how many folds a set of so many pairs is cut into: ten, or fewer where it has fewer pairs."""
    return min(FOLDS, pairs)


def find_verification(folder: SourceFolder) -> dict[str, str]:
    """Find the verification sets of a source, at the top or in `verification/`.

    A set that is there in several forms is read in the first one of: listed pairs, memfile, shards, labelled list.

    Returns:
        The file of each set, by the set's name; of several shards the first.

    Raises:
        DataError: two lists of pairs have one set's name.
    """
    listed: dict[str, str] = {}
    others: list[dict[str, str]] = [{}, {}, {}, {}]
    for file in folder.files:
        if PurePosixPath(file).parent.as_posix() in FOLDERS and (name := set_name(file)) is not None:
            if name in listed:
                raise DataError(f"{folder.where(file)} and {listed[name]} are both called {name!r}; rename one.")
            listed[name] = file
        elif (found := _other(folder, file)) is not None:
            rank, name = found
            others[rank].setdefault(name, file)
    for more in others:
        listed |= {name: file for name, file in more.items() if name not in listed}
    return listed


def _other(folder: SourceFolder, file: str) -> tuple[int, str] | None:
    """Return rank and name of the set that a file holds in another form."""
    path = PurePosixPath(file)
    if (name := sharded_set(file)) is not None:
        return 1, name
    place = path.parent.parent.parent if path.parts[-2:-1] == ("memfile",) else path.parent
    if place.as_posix() not in FOLDERS:
        return None
    if (name := memfile_set(folder, file)) is not None:
        return (3 if file.endswith(TRUTH_SUFFIX) else 0), name
    if path.name in VALIDATION_LISTS and is_labelled_list(folder, file):
        return 2, path.stem
    return None


def set_name(file: str) -> str | None:
    """Return the name of the set that a file of this name lists pair by pair; None where it lists none."""
    path = PurePosixPath(file)
    if path.name in LFW_LISTS:
        return path.stem
    if file.lower().endswith(PAIRS_SUFFIX):
        return path.name[: -len(PAIRS_SUFFIX)]
    return path.stem if path.suffix.lower() == ".bin" else None


def open_verification_source(folder: SourceFolder, name: str, file: str) -> VerificationSource:
    """Read what a set consists of; images only where they must be paired first.

    Raises:
        DataError: the file is damaged, holds something else, or asks to run something.
    """
    path = PurePosixPath(file)
    if path.suffix == ".dat" or file.endswith(TRUTH_SUFFIX):
        return open_memfile_set(folder, name, file)
    if path.suffix in SHARD_SUFFIXES:
        return open_sharded_set(folder, name, file)
    if path.name in VALIDATION_LISTS:
        return pair_labelled(LabelledListSource(folder, file), name, folder.where(file))
    return open_file_set(folder, name, file)
