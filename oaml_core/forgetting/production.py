"""The model in production: it cannot unlearn a person, and is marked to be replaced."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from oaml_core.errors import OamlError
from oaml_core.forgetting.place import Change, Item, Place, Remainder
from oaml_core.stages.addresses import read_metrics_json
from oaml_core.stages.production import PRODUCTION, champion
from oaml_core.stages.retraining import RETRAIN, mark_for_retraining, retraining_due

WEIGHTS_STAY = (
    "weights that all training images taught cannot lose one person; train again on the new data set, and promote that"
)


class Production(Place):
    """The model in production, which may have learnt from the person."""

    name = "production"

    def search(self) -> list[Item]:
        present = champion(self.case.store)
        self.looked_at = int(present is not None)
        learnt = None if present is None else self._learnt(present)
        if not learnt:
            return []
        self.remains.append(Remainder(self.case.store.url(PRODUCTION), WEIGHTS_STAY))
        return [Item(self.case.store.url(PRODUCTION), learnt)]

    def _learnt(self, present: dict[str, Any]) -> str:
        """Return how the model is known or feared to have learnt from the person; empty if it has not."""
        fingerprint = ""
        with suppress(OamlError, KeyError, TypeError):
            fingerprint = str(read_metrics_json(present["metrics_uri"])["context"]["dataset_fingerprint"])
        traces = self.case.traces.get(fingerprint)
        if traces is not None and (traces.classes or traces.touched):
            return f"version {present['version']} learnt from the person"
        if fingerprint not in self.case.known_sets and traces is None and self.case.traces:
            return f"version {present['version']} may have learnt from the person: its data set is not known"
        return ""

    def erase(self) -> list[Change]:
        present = champion(self.case.store)
        learnt = None if present is None else self._learnt(present)
        if present is None or not learnt or retraining_due(self.case.store) is not None:
            return []
        mark_for_retraining(self.case.store, present["version"], f"{learnt}, who was forgotten")
        return [Change(Item(self.case.store.url(RETRAIN), "a mark that production must be trained anew"), "")]
