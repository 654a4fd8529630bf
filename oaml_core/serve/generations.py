"""Which model answers: the present one, a new one on trial, and the change from one to the other under way.

No request fails by a change: those under way end with the model that they began with, and one that finds its gallery
rebuilt meanwhile is answered by the model that the gallery is of.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.exceptions import HTTPException

from oaml_core.amounts import amount
from oaml_core.errors import DataError, GalleryMoved, ModelInputError, Withdrawn
from oaml_core.inference.gallery.database import Gallery
from oaml_core.kept_memory import LargeObjects
from oaml_core.serve.faces import FaceService
from oaml_core.serve.limits import ServiceFigures
from oaml_core.serve.model_source import ModelSource, describe_gallery, find_version
from oaml_core.serve.trial import Decided, Trial, TrialRules

log = logging.getLogger("oaml.serve")
T = TypeVar("T")
D = TypeVar("D", bound=Decided)
ANSWERS = (ModelInputError, DataError, Withdrawn, HTTPException)
"""Errors that say something of the request, not of the model."""
TRIES = 5
"""Tries to answer one request while models and galleries change."""


@dataclass
class _Generation:
    faces: FaceService
    users: int = 0
    retired: bool = False


class Generations:
    """The models of a service, one after the other.

    Args:
        present: answers now.
        source: of new models; None: there are none.
        rules: of trials.
        figures: where changes are counted.
        is_newest: `present` is the source's newest model; False: that one is tried at the next look.
    """

    def __init__(
        self,
        present: FaceService,
        source: ModelSource | None = None,
        rules: TrialRules | None = None,
        figures: ServiceFigures | None = None,
        *,
        is_newest: bool = True,
    ) -> None:
        self._present = _Generation(present)
        self._source, self._rules = source, rules or TrialRules()
        self._figures = figures or ServiceFigures()
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._wake = threading.Event()
        self._trial: Trial | None = None
        self._former: FaceService | None = None
        self._watched_for = 0
        self._loaded = LargeObjects(present.model)
        self._wanted = source.newest() if source is not None and is_newest else ""
        self._figures.show_model(present.model.version)

    @property
    def present(self) -> FaceService:
        """Return the service of the model that answers now."""
        return self._present.faces

    @property
    def trial(self) -> Trial | None:
        """The new model that is tried now."""
        return self._trial

    def ask(self, task: Callable[[FaceService], T]) -> T:
        """Answer by the present model.

        Raises:
            GalleryMoved: the gallery was rebuilt for a model that is not to be found.
        """
        for left in reversed(range(TRIES)):
            with self._used() as faces:
                try:
                    found = task(faces)
                except GalleryMoved:
                    if not left:
                        raise
                except ANSWERS:
                    raise
                except Exception as error:
                    if not left or not self._returned(faces, error):
                        raise
                else:
                    self._passed(faces)
                    return found
            self.follow_gallery()
        raise AssertionError("the last try answers or raises")

    def decide(self, task: Callable[[FaceService], D]) -> D:
        """Answer by the present model, or by the one on trial if it is its turn and it can. Not for searches."""
        trial = self._trial
        if trial is None or not trial.is_next():
            return self.ask(task)
        # A photograph that cannot be used is told by the present model.
        expected = self.ask(task)
        try:
            found = task(trial.faces)
        except Exception as error:
            trial.fail(f"it failed: {type(error).__name__}")
            return expected
        finally:
            if trial.is_over:
                self._wake.set()
        trial.compare(found, expected)
        if trial.is_over:
            self._wake.set()
        return expected if trial.failure else found

    def change(self, task: Callable[[FaceService], T], permit: Callable[[], bool]) -> T:
        """Change the gallery, unless `permit` says no at the last moment.

        Raises:
            Withdrawn: `permit` returned False; nothing was changed.
        """

        def permitted(faces: FaceService) -> T:
            if faces.gallery is None:
                return task(faces)
            with faces.gallery.permitted(permit):
                return task(faces)

        return self.ask(permitted)

    def look(self) -> None:
        """Look once for a new model, for a trial that is over, and for a gallery that was rebuilt; never raises."""
        try:
            self._look()
        except Exception as error:
            # The store may be away for a while: the present model goes on.
            self._note("failed", self._wanted, f"{type(error).__name__}: {error}")
        self._loaded.give_back_memory()

    def follow_gallery(self) -> None:
        """Load the model that the gallery is of now, if that is another one, and let it answer.

        Raises:
            GalleryMoved: no such model is to be found.
        """
        with self._changing:
            old = self.present.gallery
            if old is None or (version := old.meta("model")) == old.model:
                return
            model = find_version(self._source, version, old)
            self._loaded.add(model)
            faces = self.present.with_model(model, Gallery(old.path, version))
            faces.self_test()
            faces.prepare()
            self._change(faces, "followed")

    @contextmanager
    def watched(self, seconds: float) -> Iterator[None]:
        """Look every `seconds` seconds within the block, in a thread of its own; 0: never."""
        if not seconds or self._source is None:
            yield
            return
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                self._wake.wait(seconds)
                self._wake.clear()
                if not over.is_set():
                    self.look()

        thread = threading.Thread(target=watch, name="models")
        thread.start()
        try:
            yield
        finally:
            over.set()
            self._wake.set()
            thread.join()

    def _look(self) -> None:
        self.follow_gallery()
        if self._source is None:
            return
        wanted, trial = self._source.newest(), self._trial
        if trial is not None and trial.name == wanted:
            if trial.is_over:
                self._end(trial)
            return
        self._trial = None
        if wanted == self._wanted:
            return
        model = self._source.load()
        self._loaded.add(model)
        if model.version == self.present.model.version:
            self._wanted = wanted
            return
        faces = self.present.with_model(model, None)
        try:
            faces.self_test()
        except Exception as error:
            self._wanted = wanted
            self._note("refused", model.version, f"its self-test failed: {error}")
            return
        trial = Trial(faces, wanted, self._rules)
        self._note("trial", model.version)
        if trial.is_over:
            self._end(trial)
        else:
            self._trial = trial

    def _end(self, trial: Trial) -> None:
        self._trial, self._wanted = None, trial.name
        if trial.failure:
            self._note("refused", trial.faces.model.version, trial.failure)
            return
        with self._changing:
            faces, old = trial.faces, self.present.gallery
            if old is not None and self._source is not None:
                left_out = describe_gallery(old.path, faces, self._source.address())
                if left_out:
                    reason = f"it cannot describe {amount(left_out, 'face')}; `oaml gallery rebuild` names them"
                    self._note("refused", faces.model.version, reason)
                    return
                faces = faces.with_model(faces.model, Gallery(old.path, faces.model.version))
            faces.prepare()
            self._change(faces, "switched")

    def _change(self, faces: FaceService, event: str) -> None:
        with self._lock:
            old, self._present = self._present, _Generation(faces)
            # A gallery's records are of one model: the former one could not search it any more.
            self._former = old.faces if old.faces.gallery is None else None
            self._watched_for = self._rules.requests
            old.retired = True
            unused = not old.users
        if unused and old.faces.gallery is not None:
            old.faces.gallery.close()
        self._figures.show_model(faces.model.version)
        self._note(event, faces.model.version)

    def _returned(self, faces: FaceService, error: Exception) -> bool:
        """Go back to the former model, if the new one fails soon after the change; False: there is none."""
        with self._lock:
            if self._present.faces is not faces:
                return True  # gone back already
            if self._former is None:
                return False
            self._present, self._former = _Generation(self._former), None
        self._figures.show_model(self.present.model.version)
        self._note("returned", self.present.model.version, f"the new one failed: {type(error).__name__}")
        return True

    def _passed(self, faces: FaceService) -> None:
        with self._lock:
            if self._former is not None and faces is self._present.faces:
                self._watched_for -= 1
                if self._watched_for <= 0:
                    self._former = None

    @contextmanager
    def _used(self) -> Iterator[FaceService]:
        with self._lock:
            generation = self._present
            generation.users += 1
        try:
            yield generation.faces
        finally:
            with self._lock:
                generation.users -= 1
                unused = generation.retired and not generation.users
            if unused and generation.faces.gallery is not None:
                generation.faces.gallery.close()

    def _note(self, event: str, version: str, reason: str = "") -> None:
        self._figures.models.labels(event).inc()
        log.info(json.dumps({"event": f"model {event}", "model": version, "reason": reason}))
