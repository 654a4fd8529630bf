"""What of a local run's output is shown."""

from __future__ import annotations

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
