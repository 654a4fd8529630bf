"""A run that was killed while it sent its last checkpoint sends it when the same command is given again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_run import TinyRun

from oaml_core.cli import main
from oaml_core.store import open_store
from tests.training.killed_sending import killed_while_sending

STEPS = 12


def test_the_last_checkpoint_is_sent_at_the_next_start(tiny: TinyRun) -> None:
    options = ["--name", "sent-late", "--optim.epochs", "1", "--train.checkpoint_every_steps", "6"]
    here = ["--dataset", tiny.dataset_uri, "--launcher", "none"]
    words = ["train", "--config", str(tiny.recipe), *tiny.overrides, *here, *options]
    assert killed_while_sending(STEPS, words) == -9
    run, store = tiny.run_dir(*options), open_store(tiny.config.store)
    last, prefix = f"step-{STEPS:010d}.ckpt", f"runs/{run.name}/checkpoints"
    assert (run / "checkpoints" / last).is_file()
    assert not store.exists(f"{prefix}/{last}")
    assert len(store.unfinished(f"{prefix}/")) == 1
    with pytest.raises(SystemExit) as end:
        main(words)
    assert not end.value.code
    assert json.loads(store.read_bytes(f"{prefix}/last.json"))["name"] == last
    store.get_file(f"{prefix}/{last}", Path(run) / "fetched")
    assert (run / "fetched").read_bytes() == (run / "checkpoints" / last).read_bytes()
    assert store.unfinished(f"{prefix}/") == []
