"""Runs and nightly runs on a server that speaks Kubeflow's interface and keeps what it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from kfp_server import KfpServer, kfp_server

from oaml_core.errors import ConfigError
from pipelines import schedule, submit
from pipelines.compile import COMPILED
from pipelines.schedule import NAME, six_fields

REPO = Path(__file__).parents[2]
RECIPE = str(REPO / "configs" / "smoke.yaml")
SECRET = "token-4f1d6c0a9b"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KfpServer]:
    monkeypatch.setenv("HOME", str(tmp_path))  # the client keeps notes there
    monkeypatch.setattr("pipelines.kubeflow.FIRST_WAIT", 0.01)
    monkeypatch.setattr("pipelines.submit.LOCK", tmp_path / "images.lock.json")  # whatever was built here
    with kfp_server() as running:
        monkeypatch.setenv("KFP_ENDPOINT", f"http://127.0.0.1:{running.port}")
        monkeypatch.delenv("KFP_TOKEN", raising=False)
        yield running


@pytest.fixture
def nightly(capsys: pytest.CaptureFixture[str]) -> Run:
    """Schedule with these options; exit status and what was said."""

    def run(*words: str) -> tuple[int, str]:
        return _main(schedule.main, words, capsys)

    return run


@pytest.fixture
def once(capsys: pytest.CaptureFixture[str]) -> Run:
    """Submit with these options; exit status and what was said."""

    def run(*words: str) -> tuple[int, str]:
        return _main(submit.main, words, capsys)

    return run


def _main(
    main: Callable[[list[str]], None], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    try:
        main(["--config", RECIPE, *words])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    shown = capsys.readouterr()
    return code, shown.out + shown.err


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("30 0 2 * * *", "30 0 2 * * *"),
        ("*/15 1-5 1,15 jan-mar MON-FRI", "0 */15 1-5 1,15 jan-mar MON-FRI"),
        ("0 2 ? * 0", "0 0 2 ? * 0"),
    ],
)
def test_five_fields_become_six(given: str, fields: str) -> None:
    assert six_fields(given) == fields


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0 2 * *", "five fields"),
        ("0 2 * * * * *", "five fields"),
        ("0 25 * * *", "'25' is no hour; it is a number from 0 to 23"),
        ("0 2 0 * *", "'0' is no day of the month"),
        ("0 2 * * 7", "'7' is no day of the week"),
        ("0 5-2 * * *", "'5-2' is no hour"),
        ("*/0 2 * * *", "steps begin at 1"),
        ("0 2 * * tomorrow", "'tomorrow' is no day of the week"),
    ],
)
def test_what_is_no_time_is_explained(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        six_fields(given)


def test_a_night_is_scheduled_once_without_catching_up(server: KfpServer, nightly: Run) -> None:
    code, said = nightly("--cron", "0 2 * * *", "--optim.lr", "0.05")
    assert (code, said) == (0, f"{NAME}: runs at 0 0 2 * * * (UTC)\n")
    (made,) = server.held["recurringruns"]
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * *"
    assert (made["no_catchup"], int(made["max_concurrency"]), made["mode"]) == (True, 1, "ENABLE")
    assert yaml.safe_load(made["runtime_config"]["parameters"]["config"])["optim"]["lr"] == 0.05
    (version,) = server.held["versions"]
    assert made["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert version["package"] == COMPILED.read_text()


def test_the_same_schedule_again_changes_nothing(server: KfpServer, nightly: Run) -> None:
    nightly("--cron", "0 2 * * *")
    before = [call for call in server.calls if not call.startswith("GET")]
    assert "unchanged" in nightly("--cron", "0 2 * * *")[1]
    assert [call for call in server.calls if not call.startswith("GET")] == before


@pytest.mark.parametrize("change", [("--cron", "0 3 * * *"), ("--cron", "0 2 * * *", "--seed", "1")])
def test_another_schedule_takes_the_place_of_the_old(server: KfpServer, nightly: Run, change: tuple[str, ...]) -> None:
    nightly("--cron", "0 2 * * *")
    old = server.held["recurringruns"][0]["recurring_run_id"]
    assert nightly(*change)[0] == 0
    (new,) = server.held["recurringruns"]
    assert new["recurring_run_id"] != old
    order = [call for call in server.calls if "recurringruns" in call and not call.startswith("GET")]
    assert order[-1].startswith("DELETE")
    assert len(server.held["versions"]) == 1


def test_nights_end(server: KfpServer, nightly: Run) -> None:
    nightly("--cron", "0 2 * * *")
    assert "runs no longer" in nightly("--cron", "off")[1]
    assert server.held["recurringruns"] == []


def test_a_run_is_started_with_the_recipe_and_the_date(server: KfpServer, once: Run) -> None:
    code, said = once("--name", "try", "--optim.lr", "0.05")
    (run,) = server.held["runs"]
    assert (code, said) == (0, f"run {run['run_id']}\n")
    assert run["display_name"].startswith(f"try {datetime.now(UTC):%Y-%m-%d}")
    assert yaml.safe_load(run["runtime_config"]["parameters"]["config"])["optim"]["lr"] == 0.05
    assert server.held["experiments"][0]["display_name"] == "oaml"
    once()
    assert len(server.held["versions"]) == len(server.held["experiments"]) == 1


def test_on_servers_of_several_users_runs_go_to_the_namespace(server: KfpServer, once: Run) -> None:
    server.multi_user = True
    assert once()[0] == 0
    assert server.held["experiments"][0]["namespace"] == "oaml"
    assert server.held["pipelines"][0]["namespace"] == "oaml"


@pytest.mark.parametrize("multi_user", [False, True])
def test_runs_and_nights_may_be_asked_for_again_and_again(
    server: KfpServer, once: Run, nightly: Run, multi_user: bool
) -> None:
    server.multi_user = multi_user
    assert [once()[0], once()[0], nightly("--cron", "0 2 * * *")[0], nightly("--cron", "0 3 * * *")[0]] == [0] * 4
    assert {kind: len(held) for kind, held in server.held.items()} == {
        "experiments": 1,
        "pipelines": 1,
        "versions": 1,
        "runs": 2,
        "recurringruns": 1,
    }


@pytest.mark.parametrize(
    ("multi_user", "namespace", "warned"), [(False, "oaml", 1), (False, "kubeflow", 0), (True, "oaml", 0)]
)
def test_settings_in_another_namespace_than_the_steps_are_warned_of(
    server: KfpServer,
    once: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    multi_user: bool,
    namespace: str,
    warned: int,
) -> None:
    server.multi_user = multi_user
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"namespace: {namespace}\n")
    assert once("--cluster", str(mine))[0] == 0
    assert caplog.text.count("steps run in its own namespace") == warned


def test_each_profile_has_a_pipeline_of_its_own(server: KfpServer, once: Run, tmp_path: Path) -> None:
    server.multi_user = True
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("namespace: theirs\n")
    for _ in range(2):
        assert once("--cluster", str(theirs))[0] == 0
        assert once()[0] == 0
    assert sorted(each["namespace"] for each in server.held["pipelines"]) == ["oaml", "theirs"]


def test_a_version_beyond_the_first_page_is_found(server: KfpServer, once: Run) -> None:
    once()
    server.page_limit = 1
    (version,) = server.held["versions"]
    server.held["versions"] = [version | {"display_name": f"old-{n}", "pipeline_version_id": n} for n in range(3)]
    server.held["versions"].append(version)
    assert once()[0] == 0
    assert len(server.held["versions"]) == 4
    assert (
        server.held["runs"][-1]["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    )


def test_a_mistyped_recipe_key_is_found_before_anything_is_sent(server: KfpServer, once: Run) -> None:
    code, said = once("--optim.learning_rate", "1")
    assert code == 2
    assert "--optim.learning_rate" in said
    assert server.calls == []


def test_wrong_credentials_are_named_but_not_shown(
    server: KfpServer, once: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "another"
    monkeypatch.setenv("KFP_TOKEN", SECRET)
    code, said = once()
    assert code == 1
    assert "401" in said
    assert "set KFP_TOKEN" in said
    assert SECRET not in said
    server.token = SECRET
    assert once()[0] == 0


def test_an_endpoint_that_is_missing_or_something_else(
    server: KfpServer, once: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults.append(("healthz", 404))
    assert "check KFP_ENDPOINT" in once()[1]
    monkeypatch.delenv("KFP_ENDPOINT")
    assert "Set KFP_ENDPOINT to the address" in once()[1]


def test_a_busy_server_is_asked_again(server: KfpServer, once: Run) -> None:
    server.faults += [("healthz", 503), ("GET .*experiments", 502), ("GET .*pipelines$", 500)]
    assert once()[0] == 0
    assert len(server.held["runs"]) == 1


def test_a_run_is_never_started_twice(server: KfpServer, once: Run) -> None:
    server.faults.append(("POST .*runs", 503))
    code, said = once()
    assert code == 1
    assert "start the run: Kubeflow refused (503)" in said
    assert sum(call == "POST /apis/v2beta1/runs" for call in server.calls) == 1


def test_the_old_schedule_stays_if_the_new_one_is_refused(server: KfpServer, nightly: Run) -> None:
    nightly("--cron", "0 2 * * *")
    server.faults.append(("POST .*recurringruns", 500))
    assert nightly("--cron", "0 3 * * *")[0] == 1
    (there,) = server.held["recurringruns"]
    assert there["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * *"


@pytest.mark.parametrize("verb", ["create", "submit"])
def test_the_command_line_of_kubeflow_takes_the_compiled_file(server: KfpServer, tmp_path: Path, verb: str) -> None:
    """`kfp run create`, and its older name."""
    command = [
        *(str(Path(sys.executable).with_name("kfp")), "--endpoint", f"http://127.0.0.1:{server.port}"),
        *("run", verb, "-e", "oaml", "-r", "by hand", "-f", str(COMPILED)),
        f"config={Path(RECIPE).read_text()}",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    (run,) = server.held["runs"]
    assert run["display_name"] == "by hand"
    assert yaml.safe_load(run["runtime_config"]["parameters"]["config"])["name"] == "smoke"
