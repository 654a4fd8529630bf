"""Training on parts that come while it goes on: the same batches and results as with parts that were copied first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from consumption import consumed
from tiny_run import PATIENCE, TinyRun, kill, wait_for, worker_pids

from oaml_core.data.prepare import packer
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.stages import fetch_dataset
from oaml_core.store import open_store
from oaml_core.store.local_file import sha256_of
from oaml_core.tracking import read_metrics
from oaml_core.training.checkpoints import read_checkpoint

PART_BYTES = 20_000, 30_000, 40_000
OPTIONS = ("--train.val_every_epochs", "2", "--data.num_workers", "1")


class Streamed(TinyRun):
    """A tiny run whose data set has many small parts."""

    def __init__(self, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            least, about, most = PART_BYTES
            small = partial(PartWriter, min_bytes=least, target_bytes=about, max_bytes=most)
            patch.setattr(packer, "PartWriter", small)
            super().__init__(folder)
        files = fetch_dataset(self.config, self.dataset_uri).manifest.files
        self.parts = [file for file in files if file.path.endswith(".rec")]
        self.others = sum(file.size for file in files) - sum(part.size for part in self.parts)

    def room_for(self, share: float) -> tuple[str, ...]:
        """Options that let a data set's folder hold `share` of the parts; manifest and locks take a little, too."""
        room = self.others + share * sum(part.size for part in self.parts) + 100_000
        return ("--cache_gb", str(room / 1e9), "--data.fetch", "stream")

    def here(self, work_dir: Path) -> list[Path]:
        return sorted(work_dir.glob("datasets/*/train/part-*.rec"))

    def train(self, *options: str) -> Path:
        process = self.start(*OPTIONS, *options)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output
        return self.run_dir(*OPTIONS, *options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    return Streamed(tmp_path_factory.mktemp("streamed"))


@pytest.fixture(scope="module")
def copied(tiny: Streamed) -> Path:
    """Folder of the run that copied its data first."""
    assert len(tiny.parts) >= 8
    return tiny.train("--name", "copied", "--data.fetch", "copy")


def losses(run_dir: Path) -> list[tuple[int, str, float]]:
    return [row for row in read_metrics(run_dir / "metrics.csv") if row[1].startswith(("loss", "val"))]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")["module"]
    return weights


def assert_same(run_dir: Path, copied: Path) -> None:
    assert consumed(run_dir) == consumed(copied)
    assert losses(run_dir) == losses(copied)
    ours, theirs = weights(run_dir), weights(copied)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_cache_smaller_than_the_set_changes_nothing(tiny: Streamed, copied: Path, tmp_path: Path) -> None:
    options = tiny.room_for(0.5)
    run_dir = tiny.train("--name", "streamed", "--work_dir", str(tmp_path), *options)
    assert_same(run_dir, copied)
    here = tiny.here(tmp_path)
    assert 0 < len(here) < len(tiny.parts)
    sizes = sum(path.stat().st_size for path in tmp_path.glob("datasets/**/*") if path.is_file())
    assert sizes <= float(options[1]) * 1e9


@pytest.mark.slow
def test_a_killed_worker_goes_on_with_the_parts_of_an_s3_store(
    tiny: Streamed, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded_s3(tmp_path / "server") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://oaml/faces")
        store.put_tree(tiny.folder / "store" / "datasets", "datasets")
        monkeypatch.setattr(tiny, "dataset_uri", store.url(f"datasets/{tiny.dataset_uri.rpartition('/')[2]}"))
        options = (*OPTIONS, "--name", "killed", "--work_dir", str(tmp_path / "work"), *tiny.room_for(0.6))
        run_dir = tiny.run_dir(*options)
        process = tiny.start(*options)
        wait_for(lambda: any((run_dir / "checkpoints").glob("step-*.ckpt")) or process.poll() is not None)
        kill(worker_pids(run_dir)[0])  # the one that has parts brought
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert "resumes from step-" in output
    assert_same(run_dir, copied)
    digests = {part.path.rpartition("/")[2]: part.sha256 for part in tiny.parts}
    here = tiny.here(tmp_path / "work")
    assert here
    assert all(sha256_of(path) == digests[path.name] for path in here)
