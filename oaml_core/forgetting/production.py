"""Models that answer: they cannot unlearn a person. The one in production is marked to be replaced, adapted ones are
named."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from oaml_core.errors import OamlError
from oaml_core.forgetting.place import Change, Item, Place, Remainder
from oaml_core.stages.added_model import trained_models
from oaml_core.stages.addresses import read_metrics_json
from oaml_core.stages.production import PRODUCTION, champion
from oaml_core.stages.retraining import RETRAIN, mark_for_retraining, retraining_due

WEIGHTS_STAY = (
    "weights that all training images taught cannot lose one person; train again on the new data set, and promote that"
)

ADAPT_AGAIN = "run `oaml model adapt` again on the new data set, then delete this folder"


class Production(Place):
    """The model in production and adapted ones, which may have learnt from the person."""

    name = "production"

    def search(self) -> list[Item]:
        store, found = self.case.store, []
        present = champion(store)
        self.looked_at = int(present is not None)
        if present is not None and (learnt := self._learnt(present)):
            self.remains.append(Remainder(store.url(PRODUCTION), WEIGHTS_STAY))
            found.append(Item(store.url(PRODUCTION), learnt))
        for key, fingerprint in trained_models(store):
            self.looked_at += 1
            if learnt := self._learnt_from(fingerprint, "this model"):
                self.remains.append(Remainder(store.url(key), f"{learnt}; {ADAPT_AGAIN}"))
        return found

    def _learnt(self, present: dict[str, Any]) -> str:
        """Return how the model in production is known or feared to have learnt from the person; empty if it has not."""
        fingerprint = ""
        with suppress(OamlError, KeyError, TypeError):
            fingerprint = str(read_metrics_json(present["metrics_uri"])["context"]["dataset_fingerprint"])
        return self._learnt_from(fingerprint, f"version {present['version']}")

    def _learnt_from(self, fingerprint: str, model: str) -> str:
        """Return how a model of this data set is known or feared to have learnt from the person; empty if not."""
        traces = self.case.traces.get(fingerprint)
        if traces is not None and (traces.classes or traces.touched):
            return f"{model} learnt from the person"
        if fingerprint not in self.case.known_sets and traces is None and self.case.traces:
            return f"{model} may have learnt from the person: its data set is not known"
        return ""

    def erase(self) -> list[Change]:
        present = champion(self.case.store)
        learnt = None if present is None else self._learnt(present)
        if present is None or not learnt or retraining_due(self.case.store) is not None:
            return []
        mark_for_retraining(self.case.store, present["version"], f"{learnt}, who was forgotten")
        return [Change(Item(self.case.store.url(RETRAIN), "a mark that production must be trained anew"), "")]
