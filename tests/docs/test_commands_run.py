"""The commands on the how-to pages that need no cluster, run one after another as a person would, on a real store."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stored_scores import write_evaluation
from untrained import write_untrained

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.cli.gallery_commands import ACTIONS as GALLERY_ACTIONS
from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.export.onnx_export import export_onnx
from oaml_core.inference.gallery.database import Gallery
from oaml_core.store import Store, open_store
from oaml_core.store.base import in_order
from oaml_core.training.trained import load_trained

DOCS = Path(__file__).parents[2] / "docs"
ACCURACIES = {"a": 0.90, "b": 0.96}
PHOTOGRAPHED = 12
"""People whose faces are searched for: a face that is aligned already is found as it is."""
Run = Callable[[str], str]


def blocks(page: str) -> list[str]:
    """Return the page's blocks of commands, indented ones too; those of another language are left out."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, language, block in found if not language]


def commands(page: str, of: str = "oaml ") -> list[str]:
    """Those of the page's blocks that begin with `of`."""
    return [line for block in blocks(page) for line in block.splitlines() if line.startswith(of)]


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


@pytest.fixture(scope="module")
def with_model(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with an untrained model in production in the store `runs` there, another model, and photographs."""
    store, made = open_store(str(faces / "runs")), tmp_path_factory.mktemp("made")
    drawn = np.stack([np.asarray(Image.open(path)) for path in sorted((faces / "faces").glob("*/*.jpg"))[:4]])
    for name, width in (("model", 4), ("other", 8)):
        config = Config(model=ModelConfig(arch="ir_mini", width=width))
        trained = load_trained(write_untrained(config, made / "best.ckpt"))
        (made / name).mkdir()
        export_onnx(trained.recogniser, made / name / "model.onnx", config, drawn)
    store.put_tree(made / "model", "runs/model", last="model.onnx")
    write_evaluation(made / "evaluation", {"lfw": {"clean": 0.9}})
    (made / "evaluation" / "report.html").write_text("<p>report")
    store.put_tree(made / "evaluation", "runs/model/evaluation-1", last="metrics.json")
    urls = [store.url(f"runs/model/{name}") for name in ("model.onnx", "evaluation-1/metrics.json")]
    assert stages.promote(Config(store=store.uri, work_dir=str(made)), *urls).promoted
    (faces / "other.onnx").write_bytes((made / "other" / "model.onnx").read_bytes())
    for name, source in (("probe", "person-3"), ("a", "person-4"), ("b", "person-5")):
        (faces / f"{name}.jpg").write_bytes(next((faces / "faces" / source).iterdir()).read_bytes())
    return faces


def bash(script: str, folder: Path, **variables: str) -> str:
    """Run a script as a person would type it there; return what it prints. The first command that fails ends it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(DOCS.parent), **variables}
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_a_gallery_is_made_encrypted_and_gets_another_key(with_model: Path) -> None:
    search, encrypt, rekey = blocks("gallery.md")
    said = bash(search, with_model)
    assert f"{PHOTOGRAPHED} people, {3 * PHOTOGRAPHED} faces" in said
    assert "person-3" in said
    (with_model / "people.gallery").unlink()
    said = bash(f"{encrypt}{rekey}oaml gallery verify people.gallery", with_model)
    assert f"{3 * PHOTOGRAPHED} faces are encrypted with the key in new.key" in said
    assert f"{3 * PHOTOGRAPHED} faces are whole" in said
    assert not (with_model / "new.key").exists()
    (with_model / "people.gallery").unlink()


def test_every_action_on_a_gallery_does_what_the_table_says(
    with_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(with_model)
    bash("openssl rand -base64 32 > table.key", with_model)
    cells = re.findall(r"^\| (`oaml gallery [^|]*) \|", (DOCS / "gallery.md").read_text(), re.MULTILINE)
    typed = [words for cell in cells for words in re.findall(r"`(?:oaml gallery )?([^`]+)`", cell)]
    files = {"export": "copy.gallery", "import": "copy.gallery", "rekey": "table.key"}
    seen = set()
    for number, line in enumerate(typed):
        action = line.split()[0]
        seen.add(action)
        named = {
            "G": "table.gallery",
            "PATH": "photographs",
            "PHOTO": "probe.jpg",
            "FILE": files.get(action, ""),
            "NAME": f"person-{number % PHOTOGRAPHED}",
            "OTHER": "person-11",
            "NEW": "other.onnx" if action == "rebuild" else f"new-{number}",
        }
        if "--key" in line:
            with Gallery("table.gallery") as gallery:
                keys = list(gallery.faces(person=named["NAME"] if action == "split" else "person-10"))
            named |= {"K": str(keys[0]), "K,L": ",".join(map(str, keys[:2]))}
        main_ends_with_0("gallery " + " ".join(named.get(word, word) for word in line.split()))
        assert capsys.readouterr().out
    assert len(typed) > len(cells)
    assert seen == set(GALLERY_ACTIONS)


@contextmanager
def service(line: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Run a line that begins with `oaml serve` at a free port; yields its address and the key that it prints."""
    command = [sys.executable, "-m", "oaml_core.cli", *shlex.split(line)[1:], "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            address, _, key = process.stdout.readline().strip().partition("#key=")
            yield address.rstrip("/"), key
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def answers(script: str, folder: Path, address: str, key: str) -> list[Any]:
    """Run a block of curl lines against a service; return the answers."""
    script = script.replace("http://127.0.0.1:8080", address).replace("curl ", "curl -s --fail-with-body -w '\\n' ")
    return [json.loads(line) for line in bash(script, folder, KEY=key).splitlines()]


def test_the_service_answers_the_requests_of_its_page(with_model: Path) -> None:
    (start,), (asking, changing) = (
        commands("serving.md", "oaml serve"),
        [block for block in blocks("serving.md") if "X-API-Key: $KEY" in block],
    )
    bash("rm -f people.gallery; oaml gallery add people.gallery photographs", with_model)
    with service(start, with_model) as (address, key):
        compared, found, detected = answers(asking, with_model, address, key)
        assert len(compared["faces"]) == 2
        assert found["people"][0]["person"] == "person-4"
        assert len(found["people"]) == 3
        assert detected["found"] >= 1
        added, people, renamed, deleted = answers(changing, with_model, address, key)
        assert added["added"]
        assert {"name": "Ann Other", "faces": 1} in people
        assert renamed == deleted == {"faces": 1}


def test_keys_are_made_and_named_as_the_page_says(with_model: Path) -> None:
    (making,) = (block for block in blocks("serving.md") if "secrets.token_urlsafe" in block)
    bash("".join(line + "\n" for line in making.splitlines() if not line.startswith("kubectl")), with_model)
    key = (with_model / "key").read_text()
    (digest,) = commands("serving.md", "printf")
    assert bash(digest, with_model, KEY=key).split()[0] in (with_model / "keys").read_text()
    (asking,) = commands("serving.md", 'curl -H "X-API-Key: $(cat key)"')
    with service("oaml serve --key_file keys", with_model) as (address, _):
        (described,) = answers(asking, with_model, address, "")
    assert described["name"] == "oaml"
