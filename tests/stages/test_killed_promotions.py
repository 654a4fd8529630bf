"""Promotions and rollbacks that are killed (SIGKILL) at any of their writes: readers find a whole pointer at any time,
and the same command given again ends as if nothing had been."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import copytree, rmtree
from threading import Thread

import pytest
from stored_scores import write_evaluation

from components.promote.component import promote as promote_step
from oaml_core import stages
from oaml_core.config import Config
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap
from oaml_core.notify import WEBHOOK
from oaml_core.settings import config_to_yaml
from oaml_core.stages.production import LAST_DECISION, PRODUCTION, champion, record, records
from oaml_core.store import open_store
from oaml_core.store.local_file import is_temporary

pytestmark = [pytest.mark.usefixtures("in_pipeline"), pytest.mark.slow]
WRITES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"}
"""Events by which the interpreter tells of changes to a folder; files are opened for writing beside."""
STRIDE = 3
"""Writes from one kill to the next; 1: each."""


@dataclass
class Artifact:
    """Model that export hands to promote."""

    metadata: dict[str, str]


@dataclass
class Steps:
    """Models in a store, and the steps that put them into production."""

    config: Config
    told: list[str]

    def promote(self, name: str) -> None:
        """Run the pipeline's own step."""
        store = open_store(self.config.store)
        artifact = Artifact({"store_uri": store.url(f"runs/{name}/model.onnx")})
        metrics = store.url(f"runs/{name}/metrics.json")
        promote_step.python_func(config_to_yaml(self.config), artifact, metrics)

    def rollback(self, _: str) -> None:
        stages.rollback(self.config)

    def put(self, name: str, accuracy: float) -> None:
        """Put an evaluated model into the store."""
        store, folder = open_store(self.config.store), Path(self.config.work_dir) / name
        store.write_bytes(f"runs/{name}/model.onnx", name.encode())
        write_evaluation(folder, {"lfw": {"clean": accuracy}})
        store.put_tree(folder, f"runs/{name}", last="metrics.json")

    def in_production(self) -> str:
        """Return the name of the model, once its pointer and its record are the same."""
        store = open_store(self.config.store)
        present = champion(store)
        if present is None:
            return ""
        assert present == record(store, present["version"])
        return str(present["model_uri"]).split("/")[-2]


@pytest.fixture
def steps(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    told: list[str] = []
    few = functools.partial(IdentityBootstrap, resamples=20)  # the verdict is clear, and hundreds of them are wanted
    monkeypatch.setattr("oaml_core.evaluation.verdict.comparison.IdentityBootstrap", few)

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/hook")
    made = Steps(config, told)
    for name, accuracy in (("old", 0.80), ("better", 0.90), ("worse", 0.70)):
        made.put(name, accuracy)
    yield made
    server.shutdown()
    server.server_close()


def in_child(work: Callable[[], None], folder: Path, at: int) -> bool:
    """Do the work in a process that is killed before its write number `at` below `folder`; whether it was."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        return code != 0
    left = at

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = event in WRITES or (event == "open" and bool(_flags(arguments) & (os.O_WRONLY | os.O_RDWR)))
        if writes and str(folder) in str(arguments[0]) and "/costs" not in str(arguments[0]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(watch)
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(1)


def _flags(arguments: tuple[object, ...]) -> int:
    return arguments[2] if isinstance(arguments[2], int) else 0


@pytest.mark.parametrize(
    ("before", "step", "wanted", "killed_shows"),
    [
        ((), ("promote", "old"), "old", {"", "old"}),
        (("old",), ("promote", "better"), "better", {"old", "better"}),
        (("old",), ("promote", "worse"), "old", {"old"}),
        (("old", "better"), ("rollback", ""), "old", {"old", "better"}),
    ],
    ids=["first", "better", "refused", "rollback"],
)
def test_killed_at_any_write_the_same_step_ends_as_if_nothing_had_been(
    steps: Steps, tmp_path: Path, before: tuple[str, ...], step: tuple[str, str], wanted: str, killed_shows: set[str]
) -> None:
    for name in before:
        steps.promote(name)
    folder, kept = Path(steps.config.store), tmp_path / "kept"
    copytree(folder, kept)
    store, work = open_store(steps.config.store), lambda: getattr(steps, step[0])(step[1])
    kills, is_killed = 0, True
    while is_killed:
        rmtree(folder)
        copytree(kept, folder)
        steps.told.clear()
        is_killed = in_child(work, folder, kills)
        shown = champion(store)
        assert (shown["model_uri"].split("/")[-2] if shown else "") in killed_shows
        moved = bool(shown) and step[0] == "rollback" and shown["version"] == records(store)[0]["version"]
        if is_killed and not moved:  # a rollback that was through would go back further
            assert not in_child(work, folder, 10**9)
        assert steps.in_production() == wanted, kills
        names = {each["model_uri"].split("/")[-2] for each in records(store)}
        assert names == {*before, wanted}
        if step[0] == "promote":
            decided = json.loads(store.read_bytes(LAST_DECISION))
            assert decided["promoted"] is (step[1] == wanted)
            assert bool(steps.told) is (step[1] != wanted), kills
        left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_temporary(path.name)}
        assert left == {info.key for info in store.unfinished()}, "garbage collection finds it"
        assert all(store.is_intact(info.key) for info in store.list(""))
        kills += STRIDE
    assert kills > 20, "the last one was not killed"
    assert store.exists(PRODUCTION)
