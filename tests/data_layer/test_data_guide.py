"""The commands of `docs/data.md` do what it says."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.cli import main
from oaml_core.config import AugmentConfig, DataConfig
from oaml_core.decoding.decode import encode_jpeg
from tests.data_layer.conftest import face

GUIDE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
COMMANDS = [line for line in GUIDE.splitlines() if line.startswith("oaml ") and "photographs" not in line]
"""Those on aligned faces; faces that a detector finds are drawn where all pages' commands are run."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_succeeds(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for person in range(80):
        Path("faces", f"p{person}").mkdir(parents=True)
        for image in range(3):
            Path("faces", f"p{person}", f"{image}.jpg").write_bytes(encode_jpeg(face(10 * person + image)))
    picture = np.zeros((40, 60, 4), np.uint8)
    picture[10:30, 15:45] = 255
    Image.fromarray(picture).save("my_mask.png")
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert ended.value.code == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert Path(last).exists() or "datasets/" in last


def test_the_keys_that_the_guide_names_exist() -> None:
    assert len(COMMANDS) == 4
    for key in ("visibility_batch_size", "visibility_clean_share", "num_instances", "batch_size", "sampler"):
        assert f"{key}" in GUIDE
        assert hasattr(DataConfig(), key)
    assert (AugmentConfig().mask_prob, AugmentConfig().flip_prob) == (0.5, 0.5)
    others = {name: value for name, value in vars(AugmentConfig()).items() if name.endswith("_prob")}
    assert sum(value != 0 for value in others.values()) == 2
