"""The service on a cluster: three ways to run one pod, who may call it, and what it must be able to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes_server.kube_schema import schema_errors
from network_rules import End, allows
from step_settings import fits_restricted_namespace, has_settings_of_steps
from test_kustomize import VERSION, of_kind, rendered, secret_templates

from components.images import image
from oaml_core.cli.program import COMMANDS
from oaml_core.serve.server import GRACE
from oaml_core.settings import config_parser, parse_config

REPO = Path(__file__).parents[2]
PLAIN, GALLERY, KSERVE = "serving/deployment", "serving/gallery", "serving/kserve"
WAYS = (PLAIN, GALLERY, KSERVE)
KSERVES_OWN = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout", "labels", "deploymentStrategy"}
"""Keys of a predictor that are none of a pod."""
Pod = dict[str, Any]


def pod(way: str) -> Pod:
    """Labels and spec of the pod."""
    if way == KSERVE:
        (service,) = of_kind(rendered(way), "InferenceService")
        predictor = service["spec"]["predictor"]
        spec = {key: value for key, value in predictor.items() if key not in KSERVES_OWN}
        return {"metadata": {"labels": predictor["labels"]}, "spec": spec}
    (deployment,) = of_kind(rendered(way), "Deployment")
    found: Pod = deployment["spec"]["template"]
    return found


def container(way: str) -> dict[str, Any]:
    (only,) = pod(way)["spec"]["containers"]
    return dict(only)


def options(way: str) -> Any:
    """The command line of the container, as `oaml` reads it."""
    name, *words = container(way)["args"]
    parser = config_parser("oaml", name)
    COMMANDS[name].options(parser)  # type: ignore[misc]
    return parse_config(parser, words)


@pytest.mark.parametrize("way", WAYS)
def test_every_field_is_known_to_kubernetes(way: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in rendered(way):
        if manifest["kind"] != "InferenceService":
            kubernetes_validate.validate(manifest, VERSION, strict=True)
    whole = {"apiVersion": "v1", "kind": "Pod", **pod(way)}
    whole["metadata"] = {**whole["metadata"], "name": "one"}
    kubernetes_validate.validate(whole, VERSION, strict=True)


def test_every_field_is_known_to_kserve_and_an_unknown_one_would_be_found() -> None:
    (service,) = of_kind(rendered(KSERVE), "InferenceService")
    assert schema_errors("inferenceservices", service) == []
    service["spec"]["predictor"]["minReplica"] = 1
    service["spec"]["predictor"]["scaleTarget"] = "70 %"
    assert len(schema_errors("inferenceservices", service)) == 2


def test_kserve_scales_by_a_metric_that_its_mode_knows() -> None:
    """KServe refuses `cpu` unless both annotations say that Kubernetes' own autoscaler scales."""
    (service,) = of_kind(rendered(KSERVE), "InferenceService")
    annotations = service["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
    assert annotations["serving.kserve.io/autoscalerClass"] == "hpa"
    assert service["spec"]["predictor"]["scaleMetric"] in ("cpu", "memory")
    assert 1 <= service["spec"]["predictor"]["scaleTarget"] <= 100


def test_the_pod_is_the_same_by_kserve_but_for_the_name_that_it_wants() -> None:
    plain, kserve = pod(PLAIN), pod(KSERVE)
    assert kserve["spec"]["containers"][0].pop("name") == "kserve-container"
    plain["spec"]["containers"][0].pop("name")
    assert kserve == plain


@pytest.mark.parametrize("way", WAYS)
def test_a_restricted_namespace_lets_it_in(way: str) -> None:
    spec, one = pod(way)["spec"], container(way)
    fits_restricted_namespace(pod(way))
    assert spec["automountServiceAccountToken"] is False
    assert one["securityContext"]["readOnlyRootFilesystem"]
    allowed = {"secret", "emptyDir", "persistentVolumeClaim"}
    assert all(set(volume) - {"name"} <= allowed for volume in spec["volumes"])


@pytest.mark.parametrize("way", WAYS)
def test_it_runs_a_command_that_there_is_in_the_image_that_is_built(way: str) -> None:
    config, given = options(way)
    assert config.store == "s3://oaml"
    assert container(way)["image"] == image("serve")
    assert container(way)["ports"][0]["containerPort"] == given.port
    # Others reach it, so it must have keys; they come from the Secret.
    mounts = {one["mountPath"]: one["name"] for one in container(way)["volumeMounts"]}
    (keys,) = (volume for volume in pod(way)["spec"]["volumes"] if volume["name"] == mounts["/etc/oaml"])
    (item,) = keys["secret"]["items"]
    assert given.key_file == f"/etc/oaml/{item['path']}"
    templates = {each["metadata"]["name"]: each["stringData"] for each in secret_templates()}
    assert item["key"] in templates[keys["secret"]["secretName"]]


@pytest.mark.parametrize("way", WAYS)
def test_its_settings_are_those_of_the_steps(way: str) -> None:
    has_settings_of_steps(container(way))


@pytest.mark.parametrize("way", WAYS)
def test_it_is_ready_once_the_model_is_tested_and_ends_after_its_requests(way: str) -> None:
    one = container(way)
    for probe in ("readinessProbe", "startupProbe"):
        assert one[probe]["httpGet"]["path"] == "/health/ready"
    assert one["livenessProbe"]["httpGet"]["path"] == "/health/live"
    pause = int(one["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod(way)["spec"]["terminationGracePeriodSeconds"] > pause + GRACE


@pytest.mark.parametrize("way", WAYS)
def test_as_many_requests_run_at_once_as_the_pod_has_cores(way: str) -> None:
    _, given = options(way)
    assert given.workers * given.threads == int(container(way)["resources"]["requests"]["cpu"])


@pytest.mark.parametrize("way", WAYS)
def test_one_pod_at_a_time_goes_when_nodes_are_drained(way: str) -> None:
    (budget,) = of_kind(rendered(way), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= pod(way)["metadata"]["labels"].items()


def test_requests_reach_the_pods_and_the_autoscaler_scales_them() -> None:
    manifests = rendered(PLAIN)
    (deployment,), (service,) = of_kind(manifests, "Deployment"), of_kind(manifests, "Service")
    (scaler,) = of_kind(manifests, "HorizontalPodAutoscaler")
    labels = pod(PLAIN)["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] == container(PLAIN)["ports"][0]["name"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # else each `apply` would undo the autoscaler


def test_a_gallery_is_changed_by_one_pod_alone() -> None:
    manifests = rendered(GALLERY)
    (deployment,), (claim,) = of_kind(manifests, "Deployment"), of_kind(manifests, "PersistentVolumeClaim")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert of_kind(manifests, "HorizontalPodAutoscaler") == []
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    _, given = options(GALLERY)
    mounts = {one["mountPath"]: one["name"] for one in container(GALLERY)["volumeMounts"]}
    (volume,) = (
        one for one in pod(GALLERY)["spec"]["volumes"] if one["name"] == mounts[str(Path(given.gallery).parent)]
    )
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize("way", WAYS)
def test_callers_get_in_by_the_port_of_the_service_and_others_do_not(way: str) -> None:
    policies = [*of_kind(rendered("overlays/cluster"), "NetworkPolicy"), *of_kind(rendered(way), "NetworkPolicy")]
    server = End("oaml", pod(way)["metadata"]["labels"])
    for caller in (End("oaml", {"oaml.io/calls": "serving"}), End("istio-system"), End("monitoring")):
        assert allows(policies, caller, server, 8080)
        assert not allows(policies, caller, server, 22)
    for other in (End("oaml", {"app": "notebook"}), End("oaml", {"oaml.io/role": "worker"}), End("elsewhere")):
        assert not allows(policies, other, server, 8080)
    # Out it gets to names and store alone.
    assert allows(policies, server, End("kube-system", {"k8s-app": "kube-dns"}), 53, "UDP")
    assert allows(policies, server, End(address="198.51.100.7"), 443)
    assert not allows(policies, server, End(address="172.18.0.2"), 6443)
    assert not allows(policies, server, End("elsewhere"), 8080)
