"""preprocess → train → evaluate → export → promote: the graph that runs on a cluster and on one machine."""

from kfp import dsl

from components.evaluate.component import evaluate
from components.export.component import export
from components.preprocess.component import preprocess
from components.promote.component import promote
from components.train.component import train


@dsl.pipeline(name="oaml", description="Occlusion-aware face recognition: prepare, train, prove, export, promote")
def oaml_pipeline(config: str, launcher: str = "local") -> None:
    """Run all stages.

    Args:
        config: the whole configuration as YAML (`oaml train --print-config`); nothing secret belongs there.
        launcher: how the training step starts its workers.
    """
    prepared = preprocess(config=config)
    trained = train(config=config, launcher=launcher, dataset=prepared.outputs["dataset"])
    evaluated = evaluate(config=config, dataset=prepared.outputs["dataset"], model=trained.outputs["model"])
    exported = export(
        config=config,
        dataset=prepared.outputs["dataset"],
        model=trained.outputs["model"],
        metrics=evaluated.outputs["metrics"],
    )
    promote(config=config, onnx_model=exported.outputs["onnx_model"], metrics=evaluated.outputs["metrics"])
