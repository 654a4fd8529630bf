"""The colour model and its pairs, for every test of this folder."""

from __future__ import annotations

import pytest
import torch
from colour_model import ColourRecogniser, Pairs, draw_pairs
from template_data import write_ijb


@pytest.fixture
def model() -> ColourRecogniser:
    torch.manual_seed(0)
    return ColourRecogniser()


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    return draw_pairs(80, noise=40)


@pytest.fixture(scope="session")
def ijb(tmp_path_factory):
    return write_ijb(tmp_path_factory.mktemp("IJBC"))
