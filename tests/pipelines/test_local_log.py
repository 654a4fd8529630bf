"""What of a local run's output is shown."""

from __future__ import annotations

import pytest

from components.train.workers import GivenUp
from oaml_core import errors
from oaml_core.errors import OamlError
from oaml_core.store.base import MissingObject
from pipelines.local_log import readable

START = """\
    [KFP Executor 2026-11-21 06:07:01,114 INFO]: Looking for component `train` in --component_module_path `/tmp/x.py`
    [KFP Executor 2026-11-21 06:07:01,114 INFO]: Loading KFP component "train" from /tmp/x.py (directory "/tmp")
    [KFP Executor 2026-11-21 06:07:01,118 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "config": "name: x"
            }
        }
    }
"""


def shown(text: str) -> list[str]:
    return list(readable(text.splitlines(keepends=True)))


def test_the_stages_own_lines_get_through() -> None:
    text = START + (
        "    [KFP Executor 2026-11-21 06:07:02,000 INFO]: prepare: 320 images\n"
        "      → s3://oaml/datasets/1\n"
        "    epoch 1/1 batch 1/10  loss 23.6\n"
        "\n"
        "    [KFP Executor 2026-11-21 06:07:09,000 INFO]: Wrote executor output file to /tmp/executor_output.json.\n"
        "----------------------------------------------------------------------\n"
    )
    assert shown(text) == ["prepare: 320 images", "  → s3://oaml/datasets/1", "epoch 1/1 batch 1/10  loss 23.6"]


def test_a_users_error_is_one_line() -> None:
    text = START + (
        "    Traceback (most recent call last):\n"
        '      File "/x/executor_main.py", line 109, in <module>\n'
        "        executor_main()\n"
        "    oaml_core.errors.DataError: record 7 of faces/train.rec cannot be decoded.\n"
    )
    assert shown(text) == ["oaml: record 7 of faces/train.rec cannot be decoded."]


def traceback(last: str) -> str:
    return f'    Traceback (most recent call last):\n      File "/x/y.py", line 9, in z\n        call()\n    {last}\n'


KINDS = [
    *(each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, OamlError)),
    MissingObject,
    GivenUp,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_that_a_user_can_cause_is_one_line(kind: type[OamlError]) -> None:
    text = traceback(f"{kind.__module__}.{kind.__name__}: 3 GPU-hours are spent.") + "failed: 'train'.\n"
    assert shown(text) == ["oaml: 3 GPU-hours are spent.", "failed: 'train'."]


def test_of_errors_that_follow_from_one_another_the_last_decides() -> None:
    cause, users = traceback("OSError: no space"), traceback("oaml_core.errors.OverBudget: 3 are spent.")
    between = "\n    The above exception was the direct cause of the following exception:\n\n"
    assert shown(cause + between + users + "\n    and more\n") == ["oaml: 3 are spent.", "and more"]
    raw = shown(users + between + cause)
    assert raw.count("Traceback (most recent call last):") == 2
    assert raw[-1] == "OSError: no space"
    assert shown(users + users) == ["oaml: 3 are spent."] * 2


def test_other_errors_keep_their_traceback() -> None:
    text = (
        "    Traceback (most recent call last):\n"
        '      File "/x/loop.py", line 9, in step\n'
        "        loss.backward()\n"
        "    RuntimeError: shapes differ\n"
        "    after it\n"
    )
    assert shown(text) == [
        "Traceback (most recent call last):",
        '  File "/x/loop.py", line 9, in step',
        "    loss.backward()",
        "RuntimeError: shapes differ",
        "after it",
    ]


def test_a_traceback_that_is_cut_off_is_shown() -> None:
    assert shown("    Traceback (most recent call last):\n      File x\n") == [
        "Traceback (most recent call last):",
        "  File x",
    ]


def test_warnings_of_libraries_are_left_out() -> None:
    text = "    /x/kfp/dsl/y.py:12: FutureWarning: soon\n      warnings.warn(\n    training may start\n"
    assert shown(text) == ["training may start"]
