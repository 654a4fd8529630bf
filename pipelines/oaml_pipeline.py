"""preprocess → train → evaluate → gate → export → promote: the graph that runs on a cluster and on one machine."""

from dataclasses import replace
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.cluster import SHARD_COUNTS, ClusterConfig
from components.evaluate.component import evaluate
from components.evaluate.shards import evaluate_shard, plan_evaluation
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


def oaml_pipeline(
    cluster: ClusterConfig | None = None, shards: int | None = None, evaluation_shards: int | None = None
) -> GraphComponent:
    """Return the graph, placed on `cluster`; None: on this machine, where the train step runs the workers itself.

    Args:
        cluster: where it runs.
        shards: number of steps that look at the training images side by side; None: what the cluster file says, 1 on
            this machine.
        evaluation_shards: number of steps that score verification pairs side by side; None: as of `shards`.

    The graph is the same in both: only images, resources, secrets and the like differ, and what `train` is told of the
    cluster. Kubeflow caches a step by its parameters and its image, not by what its input artifacts hold: that is why
    the data set's fingerprint is a parameter of each later step. `components.steps` says which steps are not cached.

    A model that the gate refuses is exported all the same, so that a person may look at it, but not promoted. `night`
    runs last, whatever became of the others, and records how the run ended.
    """

    known = cluster or ClusterConfig()
    shards, evaluation_shards = shards or known.shards, evaluation_shards or known.evaluation_shards

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
            evaluated = _evaluated(
                cluster, evaluation_shards, config=config, fingerprint=fingerprint, dataset=dataset, model=model
            )
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
    at_a_time = 1 if cluster is None else min(cluster.shards_at_a_time, shards)
    with dsl.ParallelFor(plan.output, name="shards", parallelism=at_a_time) as order:
        made = prepare_shard(config=config, order=order)
    place(cluster, plan, made)
    return preprocess(config=config, orders=dsl.Collected(made.output))


def _evaluated(cluster: ClusterConfig | None, shards: int, *, config: Any, **inputs: Any) -> dsl.PipelineTask:
    """Return the task that gives the metrics; before it, where there are several shards, a loop over them."""
    if shards == 1:
        return evaluate(config=config, **inputs)
    plan = plan_evaluation(config=config, shards=shards, **inputs)
    at_a_time = 1 if cluster is None else min(cluster.evaluation_shards_at_a_time, shards)
    with dsl.ParallelFor(plan.output, name="evaluation-shards", parallelism=at_a_time) as order:
        scored = evaluate_shard(config=config, order=order)
    place(cluster, plan, scored)
    return evaluate(config=config, orders=dsl.Collected(scored.output), **inputs)


def _for_training(cluster: ClusterConfig | None) -> str:
    """Return the cluster file's text for the train step, with the image of the workers."""
    if cluster is None:
        return ""
    training = cluster.training
    training = replace(training, image=training.image or image("train", cluster.registry))
    # How data are prepared, and models evaluated, is no reason to train again.
    unshared: dict[str, Any] = dict.fromkeys(SHARD_COUNTS, 1)
    return config_to_yaml(replace(cluster, training=training, **unshared))
