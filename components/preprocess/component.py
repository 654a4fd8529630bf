"""Prepares the data set: check, pack, fingerprint, store."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def preprocess(config: str, dataset: dsl.Output[dsl.Dataset]) -> None:
    """Check the faces that `config` names and put them into the store.

    Args:
        config: the whole configuration as YAML.
        dataset: metadata `store_uri`, `fingerprint`, `config_digest` and counts; the images stay in the store.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml, digest

    settings = config_from_yaml(config)
    prepared = stages.prepare(settings)
    dataset.metadata.update(
        prepared.summary,
        store_uri=prepared.dataset_uri,
        fingerprint=prepared.fingerprint,
        config_digest=digest(settings),
    )
