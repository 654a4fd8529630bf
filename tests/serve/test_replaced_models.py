"""Models that are replaced leave the process, and their memory goes back to the system."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from weakref import ref

import psutil
import pytest
from changing_models import FIRST, HALF, Models, asked, generations, started
from plain_model import PlainModel, face_of
from service_client import enrol, png

from oaml_core.inference.gallery.database import Gallery
from oaml_core.serve.trial import TrialRules

RELOADS = 6
BLOCKS = 300
"""Blocks of 100,000 bytes that a model holds: 29 MiB."""
SOON = TrialRules(share=0, requests=1)


class Heavy(PlainModel):
    """Holds memory in blocks that come from the allocator's arena, as the weights of a graph do."""

    def __init__(self, number: int) -> None:
        super().__init__(f"heavy {number}", thresholds={1e-2: -10.0})
        self.weights = [bytearray(100_000) for _ in range(BLOCKS)]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the garbage collector: whatever stays is kept by a cycle of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident_mib() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("has_gallery", [True, False])
def test_models_that_were_replaced_are_gone(has_gallery: bool, gallery: Gallery) -> None:
    models = Models(FIRST)
    with started(gallery if has_gallery else None, models, SOON) as client:
        seen = []
        for number in range(RELOADS):
            models.now = Heavy(number)
            seen.append(ref(models.now))
            generations(client).look()
            assert {one.status_code for one in asked(client, 2)} == {200}
        assert generations(client).present.model is models.now
        assert [one() is not None for one in seen] == [*[False] * (RELOADS - 1), True]


@pytest.mark.usefixtures("no_collector")
def test_models_that_were_refused_are_gone() -> None:
    models = Models(FIRST)
    with started(None, models, HALF) as client:
        models.now = PlainModel("refuses all", thresholds={1e-2: 10.0})
        refused = ref(models.now)
        generations(client).look()
        asked(client, 8)
        generations(client).look()
        assert generations(client).present.model is FIRST
        models.now = FIRST
        assert refused() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux's C library is meant")
def test_memory_is_flat_over_many_replacements(gallery: Gallery) -> None:
    models = Models(FIRST)
    with started(gallery, models, SOON) as client:
        assert enrol(client, "p 1", png(face_of(1)), keep_image=True).status_code == 200
        before = resident_mib()
        for number in range(RELOADS):
            models.now = Heavy(number)
            generations(client).look()
            asked(client, 2)
        # One model is held; two are for a moment, while one replaces the other.
        assert resident_mib() - before < 2.5 * BLOCKS / 10


def test_memory_is_given_back_only_after_a_model_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr("oaml_core.kept_memory.give_back_freed_memory", lambda: given_back.append(True))
    models = Models(Heavy(0))
    with started(None, models, SOON, models.now) as client:
        models.now = Heavy(1)
        generations(client).look()
        assert generations(client).present.model is models.now
        generations(client).look()
        assert not given_back  # the former model stays for one more request
        asked(client, 2)
        for _ in range(2):
            generations(client).look()
        assert given_back == [True]
