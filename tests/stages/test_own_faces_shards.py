"""`oaml evaluate --faces` by shards: the same files to the last byte, however many compare the faces."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from untrained import write_untrained

from oaml_core.cli import main
from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.evaluation.own_faces import descriptions
from oaml_core.evaluation.own_faces import folder as folder_module
from oaml_core.evaluation.scoring import face_store, shard
from oaml_core.evaluation.statistics import all_pairs, identification, largest
from oaml_core.evaluation.verdict import evaluate as evaluate_module
from oaml_core.store import open_store
from oaml_core.store.stored_arrays import read_arrays, write_arrays

PEOPLE, EACH = 5, 5
FILES = {"metrics.json", "summary.txt", "similarity.npz", "similarity.png", "report.html", "scores.npz"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, chunks and what is kept of scores are small; clocks stand still."""
    monkeypatch.setattr(folder_module, "BLOCK", 8)
    for module in (face_store, descriptions):
        monkeypatch.setattr(module, "RUN", 4)
    monkeypatch.setattr(shard, "CHUNK", 4)
    monkeypatch.setattr(all_pairs, "EXACT", 12)
    monkeypatch.setattr(all_pairs, "NAMED", 30)
    monkeypatch.setattr(largest, "ROOM", 5)
    monkeypatch.setattr(identification, "BLOCK_BYTES", 4 * PEOPLE * 17)
    monkeypatch.setattr(evaluate_module, "time", SimpleNamespace(perf_counter=lambda: 0.0))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces in one folder per identity, two of them equal, one broken, and a pair list."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    which = np.repeat(np.arange(PEOPLE), EACH)
    images = draw_faces(draw_identities(PEOPLE, generator), which, generator).images
    names = []
    for number, (person, image) in enumerate(zip(which, images, strict=True)):
        path = folder / "faces" / f"p{person}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(image))
        names.append(f"p{person}/{number}.jpg")
    # Equal faces of two people give equal scores, of which only some are kept.
    shutil.copy(folder / "faces" / names[0], folder / "faces" / names[7])
    (folder / "faces" / "p0" / "broken.jpg").write_bytes(b"\xff\xd8\xff cut off")
    pairs = [pair for k in range(8) for pair in ((names[2 * k], names[2 * k + 1]), (names[k], names[-1 - k]))]
    lines = [f"{one},{other},{int(one[:2] == other[:2])}" for one, other in pairs]
    (folder / "faces" / "mine_pairs.csv").write_text("\n".join(["first,second,same", *lines]) + "\n")
    write_untrained(Config(model=ModelConfig(arch="ir_mini", width=4)), folder / "best.ckpt")
    return folder


@pytest.fixture
def evaluate(drawn: Path, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """Run the command on a copy of the faces, and return the files of its results."""
    shutil.copytree(drawn / "faces", tmp_path / "faces")

    def run(*words: str, ends_with: int = 0) -> dict[str, bytes]:
        options = ["--checkpoint", str(drawn / "best.ckpt"), "--work_dir", str(tmp_path / "work")]
        options += ["--store", str(tmp_path / "store"), "--faces", str(tmp_path / "faces")]
        options += ["--evaluate.far", "[0.1, 0.05]", "--evaluate.occluders", "[veil]", "--evaluate.block_shares", "[]"]
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", *words, *options, "--evaluate.sides", "[second]", "--evaluate.pictures", "0"])
        assert int(ended.value.code or 0) == ends_with
        out = next((tmp_path / "work" / "own").glob("*"), tmp_path / "nothing")
        found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        return {name: content for name, content in found.items() if name.rpartition("/")[2] in FILES}

    return run


def parts_in(tmp_path: Path) -> list[str]:
    return sorted(info.key for info in open_store(str(tmp_path / "store")).list("shards/"))


def test_any_number_of_shards_gives_the_same_files(
    evaluate: Callable[..., dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oaml_core")
    expected = evaluate()
    assert {name.rpartition("/")[2] for name in expected} == FILES
    assert not (tmp_path / "store" / "shards").exists()
    for shards in (1, 2, 3):
        for number in reversed(range(shards)):
            assert not evaluate("--shard", f"{number}/{shards}")
        # Pairs, searches, the pairs of the list, and descriptions of 25 images in runs of four.
        assert len(parts_in(tmp_path)) == 3 * shards + 7
        assert evaluate("--merge", str(shards)) == expected
        assert not parts_in(tmp_path)
    said = caplog.text
    # 25 images are four rows of blocks: ten blocks of the upper half.
    assert "shard 2/3: 9 images to describe, 4 blocks of pairs" in said
    assert "shard 0/3: 8 images to describe, 3 blocks of pairs" in said
    assert evaluate("--shards", "4") == expected


def test_each_image_is_described_by_one_of_the_shards(
    evaluate: Callable[..., dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    described, plain = [], face_store.describe

    def counting(model: object, images: Iterable[np.ndarray], *rest: object) -> face_store.FaceArrays:
        found = list(images)
        described.append(len(found))
        return plain(model, found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(face_store, "describe", counting)
    for number in range(3):
        evaluate("--shard", f"{number}/3")
    assert sum(described) == PEOPLE * EACH


def test_a_description_of_another_device_is_named(evaluate: Callable[..., dict[str, bytes]], tmp_path: Path) -> None:
    evaluate("--shard", "0/2")
    store = open_store(str(tmp_path / "store"))
    (key,) = (key for key in parts_in(tmp_path) if "described-000001" in key)
    arrays, about = read_arrays(store, key, "")
    write_arrays(store, key, arrays, about | {"device": "another GPU"})
    evaluate("--shard", "1/2")
    assert f"another GPU, {about['device']}" in evaluate("--merge", "2")["metrics.json"].decode()


def test_a_shard_that_dies_goes_on_behind_its_pairs(
    evaluate: Callable[..., dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluate()
    evaluate("--shard", "0/2")
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "search", lambda *_: (_ for _ in ()).throw(MemoryError("no memory")))
        evaluate("--shard", "1/2", ends_with=1)
    (pairs,) = (key for key in parts_in(tmp_path) if key.endswith("all-pairs-00001.npz"))
    modified = open_store(str(tmp_path / "store")).stat(pairs).modified
    evaluate("--shard", "1/2")
    assert open_store(str(tmp_path / "store")).stat(pairs).modified == modified
    assert evaluate("--merge", "2") == expected


def test_shards_of_other_faces_are_not_merged(
    evaluate: Callable[..., dict[str, bytes]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluate("--shard", "0/2")
    shutil.copy(tmp_path / "faces" / "p1" / "5.jpg", tmp_path / "faces" / "p1" / "6.jpg")
    evaluate("--shard", "1/2")
    evaluate("--merge", "2", ends_with=1)
    assert "00000.npz is missing: 1 of 2 shards" in capfd.readouterr().err


def test_parts_that_are_damaged_are_named_with_the_remedy(
    evaluate: Callable[..., dict[str, bytes]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluate("--shard", "0/2")
    evaluate("--shard", "1/2")
    store = open_store(str(tmp_path / "store"))
    pairs, searches = (f"{name}-00001.npz" for name in ("all-pairs", "searches"))
    for ending, change in (
        (pairs, lambda arrays: arrays.pop("local/genuine")),
        (pairs, lambda arrays: arrays.update({"global/scores": arrays["global/scores"][1:]})),
        (pairs, lambda arrays: arrays.update({"global/bins": arrays["global/bins"] + 2**20})),
        (searches, lambda arrays: arrays.update({"combined/own": arrays["combined/own"][1:]})),
    ):
        (key,) = (key for key in parts_in(tmp_path) if key.endswith(ending))
        whole, (arrays, about) = store.read_bytes(key), read_arrays(store, key, "")
        change(arrays)
        write_arrays(store, key, arrays, about)
        evaluate("--merge", "2", ends_with=1)
        said = capfd.readouterr().err
        assert f"{ending} lacks scores of its pairs. Delete it, and run the same `oaml evaluate` with --shard 1/2" in (
            " ".join(said.split())
        )
        store.write_bytes(key, whole)
    assert evaluate("--merge", "2")


def test_a_description_that_is_damaged_is_named_with_the_remedy(
    evaluate: Callable[..., dict[str, bytes]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluate("--shard", "0/2")
    store = open_store(str(tmp_path / "store"))
    (key,) = (key for key in parts_in(tmp_path) if "described-000005" in key)
    whole, (arrays, about) = store.read_bytes(key), read_arrays(store, key, "")
    for change in (
        lambda arrays: arrays.pop("embedding"),
        lambda arrays: arrays.update(norm=arrays["norm"][1:]),
        lambda arrays: arrays.update(feature_map=arrays["feature_map"][:, 1:]),
    ):
        changed = dict(arrays)
        change(changed)
        write_arrays(store, key, changed, about)
        evaluate("--shard", "1/2", ends_with=1)
        said = " ".join(capfd.readouterr().err.split())
        assert f"{key} lacks features of its images. Delete it, and run the same `oaml evaluate` with --shard 1/2" in (
            said
        )
    store.write_bytes(key, whole)
    evaluate("--shard", "1/2")
