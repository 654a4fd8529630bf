"""The commands on the how-to pages: those of ours are parsed as a shell and a person would have them parsed."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from components.cluster import ClusterConfig
from oaml_core.cli.program import COMMANDS
from oaml_core.cli.store_commands import ACTIONS
from oaml_core.errors import OamlError
from oaml_core.inference.gallery.sealing import KEY_FILE_VARIABLE
from oaml_core.settings import config_parser, dataclass_from_yaml, load_config, parse_config
from pipelines.schedule import six_fields
from pipelines.submit import options

REPO = Path(__file__).parents[2]
PAGES = (
    "install.md",
    "gpu-nodes.md",
    "nightly.md",
    "tuning.md",
    "bring-your-own-data.md",
    "comparing-runs.md",
    "updating-a-component.md",
    "disaster-recovery.md",
    "upgrading.md",
    "gallery.md",
    "serving.md",
)
KUBECTL = {"kustomize", "apply", "get", "diff", "port-forward", "create", "delete", "wait", "rollout", "exec"}
RENDERED = REPO / "tests" / "golden"
"""The manifests as kustomize makes them."""


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = (REPO / "docs" / page).read_text()
        fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
        for block in (block for kind, block in fenced if not kind):
            yield from ((page, line.strip()) for line in block.splitlines() if line.strip())


ALL = [pytest.param(line, id=f"{page}: {line[:60]}") for page, line in commands()]


@pytest.mark.parametrize("line", ALL)
def test_it_says_what_the_programs_understand(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    PROGRAMS[program](words)


def make(words: list[str]) -> None:
    targets = [word for word in words if "=" not in word]
    done = subprocess.run(["make", "-n", *words], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings = dict(word.split("=", 1) for word in words if "=" in word)
    if "CONFIG" in settings:
        assert (REPO / settings["CONFIG"]).is_file()
    if "CRON" in settings:
        six_fields(settings["CRON"])
    if targets[0] in ("submit", "schedule"):
        parser = options("", "")
        parser.add_argument("--name")
        _, overrides = parser.parse_known_args(["--config", settings["CONFIG"], *shlex.split(settings.get("ARGS", ""))])
        load_config(REPO / settings["CONFIG"], overrides)


def oaml(words: list[str]) -> None:
    command = COMMANDS[words[0]]
    parser = config_parser("oaml", command.purpose)
    if command.options is not None:
        command.options(parser)
    typed = words[1:] if command.respelled is None else command.respelled(words[1:])
    _, values = parse_config(parser, typed)
    if words[0] == "store":
        operands = ACTIONS[values.action].operands.split()
        needed = [operand for operand in operands if not operand.startswith("[")]
        assert len(needed) <= len(values.operands or []) <= len(operands)


def kubectl(words: list[str]) -> None:
    """The verb and, where a folder is named, that it renders; an object in our namespace is one that we make."""
    namespace, words = (words[1], words[2:]) if words[0] == "-n" else ("", words)
    assert words[0] in KUBECTL
    for kind, name in named_objects(words):
        assert namespace != "oaml" or is_made(kind, name), f"{kind} {name}"
    if words[0] == "exec":
        program, *typed = words[words.index("--") + 1 :]
        assert program == "oaml"
        oaml(typed[: typed.index("<")] if "<" in typed else typed)
    folder = words[words.index("-k") + 1] if "-k" in words else words[1] if words[0] == "kustomize" else None
    if folder:
        assert (REPO / folder / "kustomization.yaml").is_file()
    if words[:3] == ["create", "secret", "generic"]:
        text = (REPO / "k8s" / "secrets" / f"{words[3]}.yaml").read_text()
        keys = [word.split("=")[1] for word in words if word.startswith("--from-file=")]
        assert keys
        assert all(f"\n  {key}:" in text for key in keys)


def named_objects(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what a line of kubectl is about, as `deployment/NAME` or `secret NAME`."""
    before = words[: words.index("--")] if "--" in words else words
    for word in before[1:]:
        if match := re.fullmatch(r"(deployment|svc|inferenceservice|statefulset|job)/([\w-]+)", word):
            yield match[1], match[2]
    if words[0] == "delete" and words[1:2] == ["secret"]:
        yield "secret", words[2]


def is_made(kind: str, name: str) -> bool:
    """Return True if a manifest of ours makes an object."""
    folder = REPO / "k8s" / "secrets" if kind == "secret" else RENDERED
    kinds = {"svc": "Service", "inferenceservice": "InferenceService", "statefulset": "StatefulSet"}
    documents = (one for file in folder.glob("*.yaml") for one in yaml.safe_load_all(file.read_text()))
    wanted = kinds.get(kind, kind.capitalize()), name
    return any((one["kind"], one["metadata"]["name"]) == wanted for one in documents if one and "kind" in one)


def kfp(words: list[str]) -> None:
    from kfp.cli.run import create

    assert words[:1] == ["--endpoint"]
    assert words[2] == "run"
    assert words[3] in ("create", "submit")
    parsed = click.Context(create)
    create.parse_args(parsed, words[4:])
    assert (REPO / parsed.params["package_file"]).is_file()
    assert all("=" in argument for argument in parsed.params["args"])


def python(words: list[str]) -> None:
    assert words[:2] == ["-m", "pipelines.compile"]
    assert Path(REPO / words[words.index("--cluster") + 1]).is_file()


def export(words: list[str]) -> None:
    (setting,) = words
    readers = (REPO / "pipelines" / "kubeflow.py", REPO / "oaml_core" / "mlflow_copy.py")
    read = "".join(path.read_text() for path in readers) + f" {KEY_FILE_VARIABLE} "
    assert setting.split("=")[0] in read


def run_elsewhere(words: list[str]) -> None:
    """Nothing: `test_commands_run` runs the lines of these programs, with their pages."""


def oaml_commands() -> Iterator[tuple[str, list[str]]]:
    """Commands of OAML on all pages, up to a pipe or another command."""
    pages = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md")), *sorted((REPO / "components").glob("*/*.md"))]
    for page in pages:
        for block in re.findall(r"^```(?:sh|bash|)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^(?:\.venv/bin/)?oaml (.*)$", block.replace("\\\n", " "), re.MULTILINE):
                words = shlex.split(line, comments=True)
                ends = [number for number, word in enumerate(words) if word in ("|", ">", "&&")]
                yield f"{page.name}: oaml {line}", words[: min(ends, default=len(words))]


def test_every_command_of_ours_on_every_page_has_all_that_it_needs() -> None:
    found, wrong = list(oaml_commands()), []
    for where, words in found:
        if words[0].startswith("-"):
            continue
        try:
            oaml(words)
        except (OamlError, AssertionError, KeyError) as error:
            wrong.append(f"{where}\n    {error}")
    assert len(found) > 40
    assert not wrong, "\n".join(wrong)


PROGRAMS = {
    "make": make,
    "oaml": oaml,
    "kubectl": kubectl,
    "kfp": kfp,
    "python": python,
    "export": export,
    **dict.fromkeys(("curl", "echo", "mv", "openssl", "printf", "python3"), run_elsewhere),
}


def test_the_cluster_file_that_is_shown_is_one() -> None:
    shown = re.search(r"```yaml\n(.*?)```", (REPO / "docs" / "gpu-nodes.md").read_text(), re.DOTALL)
    assert shown is not None
    assert dataclass_from_yaml(ClusterConfig, shown[1], "It").training.gpus == 1


def test_paths_and_keys_that_are_named_exist() -> None:
    for page in PAGES:
        text = (REPO / "docs" / page).read_text()
        for path in re.findall(r"`((?:docs|k8s|configs|images|components)/[\w./-]+)`", text):
            assert (REPO / path).exists() or "*" in path, f"{page}: {path}"
        for key in re.findall(r"`((?:train|data|optim)\.(?!rec|idx|csv)\w+)`", text):
            group, leaf = key.split(".")
            assert hasattr(getattr(load_config(), group), leaf), f"{page}: {key}"
