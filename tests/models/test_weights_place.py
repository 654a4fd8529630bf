"""A backbone's weights are found below any key and behind any prefix; several different ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from oaml_core.errors import CheckpointError
from oaml_core.models.build import build_backbone
from oaml_core.models.pretrained import load_backbone

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(5)
    return build_backbone("ir_mini", width=4).state_dict()


def behind(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def loads(path: Path, state: State) -> bool:
    backbone = build_backbone("ir_mini", width=4)
    load_backbone(backbone, path)
    return all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module._orig_mod.", "encoder.", "network.", "model.backbone.net.", "a.b.c."]
)
@pytest.mark.parametrize("keys", [(), ("net",), ("model_state_dict",), ("train", "params")])
def test_prefixes_and_keys_need_not_be_known(tmp_path: Path, state: State, prefix: str, keys: tuple[str, ...]) -> None:
    content: object = behind(prefix, state) | {"head.kernel": torch.zeros(8, 10)}
    for key in reversed(keys):
        content = {"epoch": 3, key: content, "optimizer": {"state": {0: torch.zeros(2)}, "param_groups": [{"lr": 0.1}]}}
    torch.save(content, tmp_path / "weights.pt")
    assert loads(tmp_path / "weights.pt", state)


def test_of_several_sets_the_usual_one_is_taken(tmp_path: Path, state: State) -> None:
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save(
        {"state_dict_ema": other, "state_dict": behind("model.", state) | behind("teacher.", other)}, tmp_path / "w"
    )
    assert loads(tmp_path / "w", state)


def test_several_sets_that_differ_are_refused_and_named(tmp_path: Path, state: State) -> None:
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save(behind("student.", state) | behind("teacher.", other), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"2 sets .*student\., teacher\."):
        loads(tmp_path / "w.pt", state)
    torch.save(behind("student.", state) | behind("teacher.", state), tmp_path / "w.pt")
    assert loads(tmp_path / "w.pt", state)


def test_the_content_says_what_a_file_is_and_not_its_ending(tmp_path: Path, state: State) -> None:
    save_file(behind("model.", state), tmp_path / "weights.pth")
    assert loads(tmp_path / "weights.pth", state)
    for content, kind in (
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "web page"),
    ):
        (tmp_path / "left.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=kind):
            loads(tmp_path / "left.pt", state)


def test_variances_below_0_are_refused(tmp_path: Path, state: State) -> None:
    name = next(name for name in state if name.endswith("running_var"))
    torch.save(state | {name: -state[name]}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=rf"variances below 0.*{name}"):
        loads(tmp_path / "w.pt", state)
