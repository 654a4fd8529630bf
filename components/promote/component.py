"""Puts a model into production, if it is not worse than the one that is there."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("promote"), install_kfp_package=False)
def promote(config: str, onnx_model: dsl.Input[dsl.Model], metrics: dsl.Input[dsl.Metrics]) -> str:
    """Move the production pointer to the model, unless the one in production is better.

    Args:
        config: the whole configuration as YAML.
        onnx_model: what export made.
        metrics: what evaluate made.

    Returns:
        What was decided, and why.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    promoted = stages.promote(config_from_yaml(config), onnx_model.metadata["store_uri"], metrics.metadata["store_uri"])
    return f"{'promoted' if promoted.promoted else 'kept the champion'}: {promoted.reason}"
