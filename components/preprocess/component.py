"""Prepares the data set: check, pack, fingerprint, store."""

from typing import NamedTuple

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def preprocess(
    config: str,
    dataset: dsl.Output[dsl.Dataset],
    orders: list = [],  # type: ignore[type-arg]  # noqa: B006
) -> NamedTuple("Prepared", [("fingerprint", str)]):  # type: ignore[valid-type]
    """Check the faces that `config` names and put them into the store.

    Args:
        config: the whole configuration as YAML.
        orders: what all steps prepare_shard gave, where several pods have looked at the images; empty: this step does.
        dataset: named with the date; metadata `store_uri`, `fingerprint`, `config`, `config_digest` and counts; images
            stay in the store.

    Returns:
        fingerprint: of the data set: of the images, labels and pairs that it holds. Later steps are cached by it.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml, digest

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "preprocess"):
        prepared = stages.prepare_night(settings, orders)
    dataset.metadata.update(
        prepared.summary,
        display_name=stages.dated_name(settings),
        store_uri=prepared.dataset_uri,
        fingerprint=prepared.fingerprint,
        config=config,
        config_digest=digest(settings),
    )
    return (prepared.fingerprint,)
