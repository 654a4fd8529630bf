"""Shares an evaluation out among pods: orders, and one step per shard of the pairs."""

from typing import List  # noqa: UP035

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def plan_evaluation(
    config: str, fingerprint: str, shards: int, dataset: dsl.Input[dsl.Dataset], model: dsl.Input[dsl.Model]
) -> List[str]:  # noqa: UP006
    """Share the pairs of all verification sets out.

    Args:
        config: the whole configuration as YAML.
        fingerprint: of the data set.
        shards: number of shards.
        dataset: what preprocess made.
        model: what train made.

    Returns:
        An order per shard, for evaluate_shard; a single one where the evaluation is in the store.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "plan-evaluation"):
        return stages.plan_evaluation(settings, dataset.metadata["store_uri"], model.metadata["checkpoint_uri"], shards)


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def evaluate_shard(config: str, order: str) -> str:
    """Score one share of the pairs. A step that is tried again, or comes twice, finds its result.

    Args:
        config: the whole configuration as YAML.
        order: one of those that plan_evaluation gave; it says all that an earlier step has to say.

    Returns:
        The order again.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "evaluate-shard"):
        stages.evaluate_by_order(settings, order)
    return order
