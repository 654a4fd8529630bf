"""Exports a trained model to ONNX."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("export"), install_kfp_package=False)
def export(
    config: str,
    fingerprint: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Input[dsl.Metrics],
    metrics_uri: str,
    onnx_model: dsl.Output[dsl.Model],
    model_card: dsl.Output[dsl.Markdown],
) -> None:
    """Write the model as ONNX, checked against torch.

    Args:
        config: the whole configuration as YAML.
        fingerprint: of the data set; what was done with the same one and the same configuration is not done again.
        dataset: what preprocess made; its faces are what the check runs on.
        model: what train made.
        metrics: the accuracies that evaluate measured.
        metrics_uri: address of the metrics.json that evaluate made.
        onnx_model: named with the date; metadata `store_uri`, `fingerprint` of the data set, `config`,
            `config_digest` and accuracies.
        model_card: what the model is, what it was measured to do, and what it is not for.
    """
    from pathlib import Path

    from oaml_core import stages
    from oaml_core.settings import config_from_yaml, digest

    settings = config_from_yaml(config)
    addresses = dataset.metadata["store_uri"], model.metadata["checkpoint_uri"], metrics_uri
    with stages.keeping_trouble(settings, "export"):
        exported = stages.export(settings, *addresses)
    accuracies = {name: value for name, value in metrics.metadata.items() if name.startswith("val_")}
    onnx_model.metadata.update(
        accuracies,
        display_name=stages.dated_name(settings),
        store_uri=exported.model_uri,
        fingerprint=fingerprint,
        config=config,
        config_digest=digest(settings),
    )
    Path(model_card.path).write_text(exported.model_card, encoding="utf-8")
