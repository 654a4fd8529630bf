"""The benchmark of vector stores: what it finds in a store's files, and that ours deletes and keeps what it says."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine_adapters import ENGINES, OamlGallery, is_installed, name_of
from benchmarks.gallery_engines import COLUMNS, Traces, build, delete, kill_many, measure, people_in, search
from benchmarks.gallery_million import CODES, Recipe, TimedSearch, draw_curved, recall, row_of

OURS = "OAML's gallery"
RECIPE = Recipe(60, 32, 4)


def test_vectors_have_length_one_and_are_the_same_for_every_process() -> None:
    rows, probes = draw_curved(RECIPE)
    assert rows.shape == (60, 32)
    assert probes.shape == (4, 32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert np.array_equal(rows, draw_curved(RECIPE)[0])


def test_recall_counts_what_is_among_the_first() -> None:
    truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[1, 3, 2, 9], [6, 5, 1, 2]])
    assert recall(found, truth, 1) == 0.5
    assert recall(found, truth, 2) == 0.75
    row = row_of(CODES, TimedSearch(found, [1.0, 2.0, 3.0, 4.0, 5.0]), truth)
    assert row[0] == CODES
    assert row[3:] == [100.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_people_are_found_in_whatever_form_a_store_writes_them(tmp_path: Path) -> None:
    rows = draw_curved(RECIPE)[0]
    (tmp_path / "name").write_bytes(b"..." + name_of(3).encode())
    (tmp_path / "float32").write_bytes(b"..." + rows[4].tobytes())
    (tmp_path / "float64").write_bytes(b"..." + rows[5].astype(np.float64).tobytes())
    (tmp_path / "pickled").write_bytes(pickle.dumps({"vector": rows[6].tolist()}))
    assert [people_in(tmp_path, [key], rows[key : key + 1]) for key in (3, 4, 5, 6, 7)] == [1, 1, 1, 1, 0]


def test_our_gallery_finds_deletes_and_keeps(tmp_path: Path) -> None:
    build(OURS, tmp_path, RECIPE)
    found, times = search(OURS, tmp_path, RECIPE)
    rows, probes = draw_curved(RECIPE)
    assert np.array_equal(found[:, :10], np.argsort(-(probes @ rows.T), axis=1)[:, :10])
    assert len(times) == 3
    assert delete(OURS, tmp_path, RECIPE, [3, 17]) == Traces(2, 0, 0, 0)
    engine = OamlGallery(tmp_path, RECIPE.size)
    assert engine.keys() == set(range(60)) - {3, 17}
    engine.close()


def test_a_killed_writer_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    acknowledged, lost = kill_many(OURS, tmp_path, RECIPE.size, 2)
    assert acknowledged > 0
    assert lost == 0


@pytest.mark.parametrize("name", [one for one in ENGINES if one != OURS])
def test_other_stores_take_the_same_calls(name: str, tmp_path: Path) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} is not installed")
    row = measure(name, tmp_path, RECIPE._replace(faces=300), 2, 0)
    assert len(row) == len(COLUMNS)
    assert row[4] == 100.0
