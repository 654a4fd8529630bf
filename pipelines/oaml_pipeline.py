"""preprocess → train → evaluate → gate → export → promote: the graph that runs on a cluster and on one machine."""

from dataclasses import replace
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.cluster import ClusterConfig
from components.evaluate.component import evaluate
from components.export.component import export
from components.images import image
from components.preprocess.component import preprocess
from components.preprocess.shards import plan_shards, prepare_shard
from components.promote.component import promote
from components.promote.gate import gate
from components.promote.night import night
from components.train.component import train
from oaml_core.settings import config_to_yaml
from pipelines.placement import place


def oaml_pipeline(cluster: ClusterConfig | None = None, shards: int | None = None) -> GraphComponent:
    """Return the graph, placed on `cluster`; None: on this machine, where the train step runs the workers itself.

    Args:
        cluster: where it runs.
        shards: number of steps that look at the training images side by side; None: what the cluster file says, 1 on
            this machine.

    The graph is the same in both: only images, resources, secrets and the like differ, and what `train` is told of the
    cluster. Kubeflow caches a step by its parameters and its image, not by what its input artifacts hold: that is why
    the data set's fingerprint is a parameter of each later step. `components.steps` says which steps are not cached.

    A model that the gate refuses is exported all the same, so that a person may look at it, but not promoted. `night`
    runs last, whatever became of the others, and records how the run ended.
    """

    shards = shards or (1 if cluster is None else cluster.shards)

    @dsl.pipeline(
        name="oaml", description="Occlusion-aware face recognition: prepare, train, prove, judge, export, promote"
    )
    def oaml(config: str) -> None:
        """Run all stages.

        Args:
            config: the whole configuration as YAML (`oaml train --print-config`); nothing secret belongs there.
        """
        ended = night(config=config)
        with dsl.ExitHandler(ended, name="steps"):
            prepared = _prepared(config, cluster, shards)
            fingerprint, dataset = prepared.outputs["fingerprint"], prepared.outputs["dataset"]
            trained = train(config=config, fingerprint=fingerprint, cluster=_for_training(cluster), dataset=dataset)
            model = trained.outputs["model"]
            evaluated = evaluate(config=config, fingerprint=fingerprint, dataset=dataset, model=model)
            metrics, metrics_uri = evaluated.outputs["metrics"], evaluated.outputs["metrics_uri"]
            judged = gate(config=config, metrics_uri=metrics_uri)
            exported = export(
                config=config,
                fingerprint=fingerprint,
                dataset=dataset,
                model=model,
                metrics=metrics,
                metrics_uri=metrics_uri,
            )
            exported.after(judged)
            promoted = promote(config=config, onnx_model=exported.outputs["onnx_model"], metrics_uri=metrics_uri)
        place(cluster, prepared, trained, evaluated, judged, exported, promoted, ended)

    return oaml


def _prepared(config: Any, cluster: ClusterConfig | None, shards: int) -> dsl.PipelineTask:
    """Return the task that gives the data set; before it, where there are several shards, a loop over them."""
    if shards == 1:
        return preprocess(config=config)
    plan = plan_shards(config=config, shards=shards)
    with dsl.ParallelFor(plan.output, name="shards", parallelism=_at_a_time(cluster, shards)) as order:
        made = prepare_shard(config=config, order=order)
    place(cluster, plan, made)
    return preprocess(config=config, orders=dsl.Collected(made.output))


def _at_a_time(cluster: ClusterConfig | None, shards: int) -> int:
    return 1 if cluster is None else min(cluster.shards_at_a_time, shards)


def _for_training(cluster: ClusterConfig | None) -> str:
    """Return the cluster file's text for the train step, with the image of the workers."""
    if cluster is None:
        return ""
    training = cluster.training
    training = replace(training, image=training.image or image("train", cluster.registry))
    # How data are prepared is no reason to train again.
    return config_to_yaml(replace(cluster, training=training, shards=1, shards_at_a_time=1))
