"""Trains on a prepared data set."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def train(
    config: str, fingerprint: str, cluster: str, dataset: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]
) -> None:
    """Train, or go on training where an earlier try stopped.

    Args:
        config: the whole configuration as YAML.
        fingerprint: of the data set; what was trained on the same one with the same configuration is not trained again.
        cluster: the cluster file; empty: the workers run in this container.
        dataset: what preprocess made.
        model: named with the date; metadata `checkpoint_uri`, `run_uri`, `val_acc`, `fingerprint` of the data set,
            `config`, `config_digest` and `cost_…` of the run so far; the checkpoint stays in the store.
    """
    from dataclasses import asdict

    from components.train.launchers import launcher
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml, digest

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "train"):
        trained = stages.train(settings, dataset.metadata["store_uri"], launcher=launcher(cluster))
    model.metadata.update(
        display_name=stages.dated_name(settings),
        checkpoint_uri=trained.checkpoint_uri,
        run_uri=trained.run_uri,
        val_acc=trained.val_acc,
        fingerprint=fingerprint,
        config=config,
        config_digest=digest(settings),
        **{f"cost_{name}": value for name, value in asdict(trained.cost).items()},
    )
