"""Shares a preparation out among pods: a plan, and one step per shard."""

from typing import List  # noqa: UP035

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def plan_shards(config: str, shards: int) -> List[str]:  # noqa: UP006
    """List the source, and put a work order per shard into the store.

    Args:
        config: the whole configuration as YAML.
        shards: number of shards.

    Returns:
        `<plan>/<number>` per shard, for prepare_shard; a single one where nothing is new.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "plan-shards"):
        return stages.plan_night(settings, shards)


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def prepare_shard(config: str, order: str) -> str:
    """Check and pack one share of the images. A step that is tried again, or comes twice, finds its result.

    Args:
        config: the whole configuration as YAML.
        order: one of those that plan_shards gave. It says all that an earlier step has to say: in a loop, local runs
            of Kubeflow Pipelines hand the loop's value on in place of any other step's output.

    Returns:
        The order again.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "prepare-shard"):
        stages.prepare_shard(settings, order)
    return order
