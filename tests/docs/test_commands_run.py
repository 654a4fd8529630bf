"""The commands on the how-to pages that need no cluster, run one after another as a person would, on a real store."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stored_scores import write_evaluation

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.store import Store, open_store
from oaml_core.store.base import in_order

DOCS = Path(__file__).parents[2] / "docs"
ACCURACIES = {"a": 0.90, "b": 0.96}
PHOTOGRAPHED = 12
"""People whose faces are searched for: a face that is aligned already is found as it is."""
Run = Callable[[str], str]


def commands(page: str, of: str = "oaml ") -> list[str]:
    """Those of the page's blocks that begin with `of`."""
    blocks = re.findall(r"^```\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith(of)]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces, one folder per identity, in `faces` and `photographs`, and a mask, where the commands are typed."""
    folder = tmp_path_factory.mktemp("typed")
    generator = np.random.default_rng(0)
    which = np.repeat(np.arange(80), 3)
    drawn = draw_faces(draw_identities(80, generator), which, generator)
    for number, (person, image) in enumerate(zip(which, drawn.images, strict=True)):
        path = folder / "faces" / f"person-{person}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(image))
        if person < PHOTOGRAPHED:
            photograph = folder / "photographs" / path.parent.name / path.name
            photograph.parent.mkdir(parents=True, exist_ok=True)
            photograph.write_bytes(path.read_bytes())
    mask = Image.new("RGBA", (64, 48))
    mask.paste("white", (8, 8, 56, 40))
    mask.save(folder / "my_mask.png")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with embedded_s3(tmp_path_factory.mktemp("s3")) as variables:
        yield variables


@pytest.fixture
def store(server: dict[str, str], faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """`s3://oaml` with two runs, of which the second is in production and the first was; it is pinned as well."""
    monkeypatch.chdir(faces)
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://oaml")
    empty(store)
    for run, accuracy in ACCURACIES.items():
        store.write_bytes(f"runs/{run}/model.onnx", run.encode())
        write_evaluation(tmp_path / run, {"lfw": {"clean": accuracy}})
        (tmp_path / run / "report.html").write_text("<p>report")
        store.put_tree(tmp_path / run, f"runs/{run}/evaluation-1", last="metrics.json")
        made = [store.url(f"runs/{run}/{name}") for name in ("model.onnx", "evaluation-1/metrics.json")]
        assert stages.promote(Config(store=store.uri, work_dir=str(tmp_path)), *made).promoted
    main_ends_with_0("store pin a --store s3://oaml")
    return store


def empty(store: Store) -> None:
    in_order(store.delete, {info.key: info.size for info in store.list()}, last="")


def main_ends_with_0(line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line))
    assert not ended.value.code


@pytest.fixture
def oaml(store: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a line that begins with `oaml`; what it prints."""

    def run(line: str) -> str:
        main_ends_with_0(line.removeprefix("oaml "))
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("page", ["bring-your-own-data.md", "comparing-runs.md", "data.md", "upgrading.md"])
def test_they_end_well(oaml: Run, page: str) -> None:
    lines = commands(page)
    assert lines
    for line in lines:
        oaml(line)


def test_a_comparison_says_what_the_gate_would_do(oaml: Run) -> None:
    (line,) = (each for each in commands("comparing-runs.md") if "compare" in each)
    assert "| lfw | clean | combined | 90.00 | 96.00 | +6.00" in oaml(line)


def test_what_is_backed_up_comes_back(oaml: Run, store: Store) -> None:
    """The page's commands for the run `a`, repeated for the other, as the page says of all that the records name."""
    page = commands("disaster-recovery.md")
    before = {info.key: store.read_bytes(info.key) for info in store.list()}
    saving = [line for line in page if " get " in line]
    for line in saving * 2:  # the same commands serve every night
        oaml(line)
    oaml(saving[-1].replace("runs/a", "runs/b"))
    empty(store)
    restoring = [line for line in page if " put " in line]
    oaml(restoring[0].replace("runs/a", "runs/b"))
    for line in restoring:
        oaml(line)
    assert {info.key: store.read_bytes(info.key) for info in store.list()} == before


def test_a_bad_model_leaves_production_and_the_store_is_found_whole(oaml: Run, store: Store) -> None:
    bad = json.loads(store.read_bytes(stages.PRODUCTION))
    rollback, verify, *garbage = (
        line for line in commands("disaster-recovery.md") if not {"get", "put"} & set(line.split())
    )
    oaml(rollback)
    assert json.loads(store.read_bytes(stages.PRODUCTION))["version"] == bad["previous"]
    assert "0 damaged" in oaml(verify)
    for line in garbage:
        oaml(line)
    assert store.exists("runs/a/model.onnx")
