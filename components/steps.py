"""The steps of the pipelines, each declared once: image, caching, and what its pod needs.

A new step is an entry here, a component (`components/<name>/component.py`), and its place in a graph of `pipelines`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Properties of a step that hold wherever it runs."""

    image: str
    """Component whose image it runs in."""
    cached: bool = True
    """Kubeflow may take an earlier run's result: the parameters name everything that the result depends on."""
    loads_batches: bool = False
    """Loader processes hand batches over in shared memory."""
    uses_gpu: bool = False
    """A GPU makes it faster."""
    like: str | None = None
    """Step whose pod it gets where the cluster file's `stages` does not name it."""


STEPS = {
    # It finds out whether the data have changed.
    "preprocess": Step("preprocess", cached=False, loads_batches=True),
    "train": Step("train", loads_batches=True, uses_gpu=True),
    "evaluate": Step("evaluate", loads_batches=True, uses_gpu=True),
    # These look at what is in production now.
    "gate": Step("promote", cached=False),
    "export": Step("export", loads_batches=True),
    "promote": Step("promote", cached=False),
    "night": Step("promote", cached=False),
    # It finds its tiles itself: Kubeflow would not see that they have changed.
    "train-prior": Step("train", cached=False, loads_batches=True, uses_gpu=True),
    "evaluate-prior": Step("evaluate", loads_batches=True, uses_gpu=True),
    # They precede preprocess where the cluster file has `shards`; what they leave in the store is found again.
    "plan-shards": Step("preprocess", cached=False, like="preprocess"),
    "prepare-shard": Step("preprocess", cached=False, like="preprocess"),
    # They precede evaluate where the cluster file has `evaluation_shards`.
    "plan-evaluation": Step("evaluate", cached=False, like="gate"),
    "evaluate-shard": Step("evaluate", cached=False, loads_batches=True, uses_gpu=True, like="evaluate"),
}
"""All steps, by the name that the cluster file's `stages` gives them."""

COMPONENTS = tuple(dict.fromkeys(step.image for step in STEPS.values()))
"""Components that have an image of their own."""

IMAGES = (*COMPONENTS, "serve")
"""All images: those of the steps, and that of the service, which is no step."""
