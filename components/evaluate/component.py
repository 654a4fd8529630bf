"""Measures a trained model."""

from typing import NamedTuple

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def evaluate(
    config: str,
    fingerprint: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    roc: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    orders: list = [],  # type: ignore[type-arg]  # noqa: B006
) -> NamedTuple("Measured", [("metrics_uri", str)]):  # type: ignore[valid-type]
    """Evaluate on every verification set, clean and occluded.

    Args:
        config: the whole configuration as YAML.
        fingerprint: of the data set; what was done with the same one and the same configuration is not done again.
        dataset: what preprocess made.
        model: what train made.
        orders: what all steps evaluate_shard gave, where several pods have scored the pairs; empty: this step does.
        metrics: the headline accuracies and nothing else, since Kubeflow compares every value that stands there.
        roc: combined score on clean pairs of the first verification set.
        report: report.html, and metadata `store_uri`, `fingerprint`, `config_digest`.
        summary: accuracies, TAR and the comparison with the model in production as tables.

    Returns:
        metrics_uri: address of metrics.json in the store.
    """
    import shutil
    from pathlib import Path

    from oaml_core import stages
    from oaml_core.settings import config_from_yaml, digest

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "evaluate"):
        evaluated = stages.evaluate(
            settings,
            dataset.metadata["store_uri"],
            model.metadata["checkpoint_uri"],
            shards=stages.shards_of(orders),
        )
    for name, value in evaluated.metrics.items():
        metrics.log_metric(name, value)
    described = {
        "display_name": stages.dated_name(settings),
        "fingerprint": fingerprint,
        "config_digest": digest(settings),
    }
    metrics.metadata["display_name"] = described["display_name"]
    roc.log_roc_curve(evaluated.roc["fpr"], evaluated.roc["tpr"], evaluated.roc["threshold"])
    report.metadata.update(described, store_uri=evaluated.report_uri)
    shutil.copyfile(evaluated.report, report.path)
    Path(summary.path).write_text(evaluated.summary, encoding="utf-8")
    return (evaluated.metrics_uri,)
