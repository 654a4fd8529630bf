"""train-prior → evaluate-prior: the restoration branch, over the same store, images and cluster file."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.cluster import ClusterConfig
from components.restore.component import evaluate_prior, train_prior
from pipelines.placement import place


def restoration_pipeline(cluster: ClusterConfig | None = None) -> GraphComponent:
    """Return the graph, placed on `cluster`; None: on this machine."""

    @dsl.pipeline(name="oaml-restoration", description="A diffusion prior of clean tiles: train, restore, measure")
    def restoration(config: str, recogniser_uri: str = "") -> None:
        """Run both steps.

        Args:
            config: the whole configuration as YAML (`oaml restore train --print-config`); nothing secret belongs there.
            recogniser_uri: checkpoint to measure with what restoration does to recognition; empty: not measured.
        """
        trained = train_prior(config=config)
        measured = evaluate_prior(config=config, recogniser_uri=recogniser_uri, prior=trained.outputs["prior"])
        place(cluster, trained, measured)

    return restoration
