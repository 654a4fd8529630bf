"""A prepared verification set without some of its pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from oaml_core.array_files import read_array
from oaml_core.data.prepared.memfile import MemfileWriter, conf_path, open_memfile
from oaml_core.data.prepared.verification import files_of, people_file
from oaml_core.data.sources.verification_source import Bools
from oaml_core.errors import DataError
from oaml_core.structured_text import parse_json

REMEDY = "Prepare the data set again."


def leave_pairs_out(folder: Path, name: str, gone: Bools) -> list[Path]:
    """Write a set again without the pairs that go.

    Args:
        folder: where the files of the set lie; they are replaced.
        name: of the set.
        gone: bool [N], True for a pair that goes.

    Returns:
        Files of the set as it is now; none where no pair is left.
    """
    images = folder / f"{name}.dat"
    kept_rows = np.repeat(~gone, 2)
    if gone.all():
        for path in files_of(folder, name):
            path.unlink()
        return []
    old = open_memfile(images)
    with MemfileWriter(images, (int(kept_rows.sum()), *old.shape[1:]), old.dtype.name) as memfile:
        for row in np.flatnonzero(kept_rows):
            memfile.write(np.asarray(old[row]))
    written = [images, conf_path(images)]
    for path in files_of(folder, name)[len(written) :]:
        if path.suffix == ".npy":
            values = read_array(path, str(path), REMEDY, DataError)
            np.save(path, values[~gone if path.stem == f"{name}_list" else kept_rows])
        written.append(path)
    _leave_people_out(folder, name)
    return written


def _leave_people_out(folder: Path, name: str) -> None:
    """Remove the names of people whom no pair shows any more."""
    path, numbers = people_file(folder, name), folder / f"{name}_identities.npy"
    if path.is_file():
        present = {str(number) for number in np.unique(read_array(numbers, str(numbers), REMEDY, DataError)).tolist()}
        people = parse_json(path.read_bytes(), str(path), REMEDY, DataError)
        path.write_text(json.dumps({number: person for number, person in people.items() if number in present}))
