"""A worker that writes down as whom it was started, and ends in the way that its run folder says."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from oaml_core.config import Config


def train_as_worker(config: Config, dataset: Path, run_dir: Path, store_prefix: str) -> None:
    """Write, then do what `ends` in the run's folder says."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    known = {
        "process": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgrp(),
        "folder": str(Path.cwd()),
        "temporary": tempfile.gettempdir(),
        "variables": dict(os.environ),
        "prefix": store_prefix,
    }
    (run_dir / f"{known['process']}.json").write_text(json.dumps(known))
    print("out", file=sys.stdout, flush=True)
    print("err", file=sys.stderr, flush=True)
    match (run_dir / "ends").read_text():
        case "asked":
            asked.wait()
            sys.exit(143)
        case "fails":
            raise KeyError("a fault")
        case "well":
            return
