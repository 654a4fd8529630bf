"""Records how a run of the pipeline ended, and tells people of one that failed."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("promote"), install_kfp_package=False)
def night(config: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Run when all other steps have ended, whatever became of them.

    Args:
        config: the whole configuration as YAML.
        status: what Kubeflow says of the other steps.
    """
    from oaml_core import stages
    from oaml_core.settings import config_from_yaml

    failed = status.state != "SUCCEEDED"
    why = f"{status.error_message or 'a step failed'} ({status.pipeline_job_resource_name})"
    stages.end_night(config_from_yaml(config), failed, why)
