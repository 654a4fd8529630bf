"""Puts a model into production, if it is not worse than the one that is there."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("promote"), install_kfp_package=False)
def promote(config: str, onnx_model: dsl.Input[dsl.Model], metrics_uri: str) -> str:
    """Move the production pointer to the model, unless the one in production is better.

    Args:
        config: the whole configuration as YAML.
        onnx_model: what export made.
        metrics_uri: address of the metrics.json that evaluate made.

    Returns:
        What was decided, and why.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "promote"):
        promoted = stages.promote(settings, onnx_model.metadata["store_uri"], metrics_uri)
    return f"{'promoted' if promoted.promoted else 'kept the champion'}: {promoted.reason}"
