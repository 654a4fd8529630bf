"""Trains a diffusion prior of clean tiles."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def train_prior(config: str, prior: dsl.Output[dsl.Model]) -> None:
    """Prepare the clean tiles and train the prior, or go on training where an earlier try stopped.

    Args:
        config: the whole configuration as YAML.
        prior: metadata `checkpoint_uri`, `dataset_uri`, `run_uri` and `config_digest`; the checkpoint itself stays in
            the store.
    """
    from oaml_core.settings import config_from_yaml, digest
    from oaml_core.stages import restore_stage

    settings = config_from_yaml(config)
    tiles = restore_stage.prepare_tiles(settings)
    trained = restore_stage.train_prior(settings, tiles)
    prior.metadata.update(
        checkpoint_uri=trained.checkpoint_uri,
        dataset_uri=tiles,
        run_uri=trained.run_uri,
        config_digest=digest(settings),
    )


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def evaluate_prior(
    config: str,
    recogniser_uri: str,
    prior: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Restore tiles that the prior did not learn from, and measure how well.

    Args:
        config: the whole configuration as YAML.
        recogniser_uri: checkpoint to measure with what restoration does to recognition; empty: not measured.
        prior: what train_prior made.
        metrics: PSNR by exposure, χ² and coverage in the dark; nothing else stands there.
        report: restoration.html, and metadata `store_uri` and `metrics_uri`, of restoration.json.
    """
    import shutil

    from oaml_core.settings import config_from_yaml
    from oaml_core.stages import restore_stage

    found = restore_stage.evaluate_prior(
        config_from_yaml(config),
        prior.metadata["dataset_uri"],
        prior.metadata["checkpoint_uri"],
        recogniser_uri or None,
    )
    for name, value in found.metrics.items():
        metrics.log_metric(name, value)
    report.metadata.update(store_uri=found.report_uri, metrics_uri=found.metrics_uri)
    shutil.copyfile(found.report, report.path)
