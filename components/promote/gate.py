"""Judges a model by the one in production."""

from typing import NamedTuple

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("promote"), install_kfp_package=False)
def gate(config: str, metrics_uri: str, decision: dsl.Output[dsl.Markdown]) -> NamedTuple(  # type: ignore[valid-type]
    "Judged", [("passes", bool), ("reason", str)]
):
    """Say whether the model would be promoted; nothing is changed, and a refusal is no error.

    Args:
        config: the whole configuration as YAML.
        metrics_uri: address of the metrics.json that evaluate made.
        decision: the reason, and each gated set and condition.

    Returns:
        passes: whether the model is not inferior to the one in production.
        reason: why.
    """
    from pathlib import Path

    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    settings = config_from_yaml(config)
    with stages.keeping_trouble(settings, "gate"):
        judged = stages.gate(settings, metrics_uri)
    decision.metadata["display_name"] = stages.dated_name(settings)
    Path(decision.path).write_text(judged.summary, encoding="utf-8")
    return judged.passes, judged.reason
