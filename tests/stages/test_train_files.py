"""Files that training reads beside its data set are looked at before that is prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from oaml_core.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data.occluders", "things.zip", "--augment.occluders", "[cutout:mask]"], "things.zip is an archive"),
        (["--data.occluders", "gone"], "cut-outs: there is no"),
        (["--model.weights", "gone.pth"], "There are no weights"),
        (["--model.weights", "things.zip", "--model.arch", "ir_mini"], "things.zip cannot be read as weights"),
    ],
)
def test_training_names_them_before_it_prepares(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "things.zip").write_bytes(b"PK")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data.source", "no-faces", "--store", str(tmp_path / "store"), *words])
    assert ended.value.code != 0
    error = capsys.readouterr().err
    assert said in error
    assert "no-faces" not in error
