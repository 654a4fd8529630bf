"""Objects of a TrainJob over the runtime in `k8s/trainer`: a JobSet with one indexed Job, and its pods.

Rules are those of the trainer's plugins `plainml` and `jobset` and of its webhook (kubeflow/trainer 2.3,
pkg/runtime/framework/plugins), of JobSet (names of hosts) and of the Job controller (policies of failure and success).
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import yaml
from kubernetes_server.kube_schema import schema_errors

Json = dict[str, Any]
Answer = Literal["again", "failed", "succeeded"]
"""Answer of a controller to a pod that has ended: it makes the pod again, or the job ends."""
RUNTIME = Path(__file__).parents[3] / "k8s" / "trainer" / "elastic-runtime.yaml"
NODE = "node"
"""The container that `spec.trainer` of a TrainJob is about."""
ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"
FAILED = {"Ignore": "again", "Count": "again", "FailJob": "failed"}


def job_set(job: Json) -> Json:
    """The JobSet's spec: the runtime's, with what the TrainJob says in its place.

    Raises:
        ValueError: the trainer's webhook would refuse the TrainJob, or the API server the runtime.
    """
    runtime = yaml.safe_load(RUNTIME.read_text())
    wrong = schema_errors("clustertrainingruntimes", runtime)
    reference = job["spec"]["runtimeRef"]
    if wrong or (reference["kind"], reference["name"]) != (runtime["kind"], runtime["metadata"]["name"]):
        raise ValueError(f"the runtime is another: {reference}, {wrong}")
    made: Json = deepcopy(runtime["spec"]["template"]["spec"])
    replicated = {each["name"]: each["template"] for each in made["replicatedJobs"]}
    for patch in job["spec"].get("runtimePatches", []):
        for each in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            _patch(replicated[each["name"]]["spec"]["template"], each["template"]["spec"]["template"])
    for template in replicated.values():
        if template["metadata"]["labels"].get(ANCESTOR) == "trainer":
            nodes = job["spec"]["trainer"].get("numNodes", runtime["spec"]["mlPolicy"]["numNodes"])
            template["spec"] |= {"parallelism": nodes, "completions": nodes}
        for container in template["spec"]["template"]["spec"]["containers"]:
            if container["name"] == NODE:
                _train(container, job["spec"]["trainer"])
    return made


def training_job(job: Json) -> Json:
    """The spec of the one Job that trains."""
    (found,) = job_set(job)["replicatedJobs"]
    spec: Json = found["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    return spec


def host(job: Json, number: int) -> str:
    """Name by which the other pods find one: JobSet names hosts, and keeps a Service without an address for them."""
    name = job["metadata"]["name"]
    return f"{name}-{NODE}-0-{number}.{job_set(job).get('network', {}).get('subdomain', name)}"


def found_before_ready(job: Json) -> bool:
    """Return True if a host's name has an address before its pod is ready, as a rendezvous needs it."""
    network = job_set(job).get("network", {})
    return bool(network.get("enableDNSHostnames", True) and network.get("publishNotReadyAddresses", True))


def answer(job: Json, exit_code: int, disrupted: bool) -> Answer:
    """Return the answer of the Job controller to a pod of the Job that has ended, by the Job's own policies.

    Args:
        exit_code: of the container.
        disrupted: whether the pod has the condition DisruptionTarget.
    """
    spec = training_job(job)
    if exit_code == 0:
        rules = spec["successPolicy"]["rules"]
        return "succeeded" if any(rule.get("succeededCount", 0) == 1 for rule in rules) else "again"
    for rule in spec["podFailurePolicy"]["rules"]:
        on = rule.get("onExitCodes")
        if on is None:
            met = disrupted and any(each["type"] == "DisruptionTarget" for each in rule["onPodConditions"])
        else:
            met = on["containerName"] == NODE and (exit_code in on["values"]) == (on["operator"] == "In")
        if met:
            return FAILED[rule["action"]]  # type: ignore[return-value]
    return "again"


def _train(container: Json, trainer: Json) -> None:
    container |= {key: trainer[key] for key in ("image", "command", "args") if key in trainer}
    if "resourcesPerNode" in trainer:
        container["resources"] = trainer["resourcesPerNode"]
    container["env"] = _by_name(container.get("env", []), trainer.get("env", []))


def _patch(template: Json, patch: Json) -> None:
    """Lay what a manager wants over the runtime's pod template; lists with names are merged by them."""
    metadata = template.setdefault("metadata", {})
    for key, values in patch.get("metadata", {}).items():
        metadata[key] = metadata.get(key, {}) | values
    spec, wanted = template["spec"], dict(patch["spec"])
    containers = {each["name"]: each for each in spec["containers"]}
    for each in wanted.pop("containers", []):
        if each["name"] not in containers:
            raise ValueError(f"must not have container that doesn't exist in the runtime: {each['name']}")
        if each.get("env") and each["name"] == NODE:
            raise ValueError(f"must not have envs for the container {NODE}")
        own = containers[each["name"]]
        own["volumeMounts"] = _by_name(own.get("volumeMounts", []), each.get("volumeMounts", []))
        own |= {key: value for key, value in each.items() if key not in ("name", "volumeMounts")}
    spec["volumes"] = _by_name(spec.get("volumes", []), wanted.pop("volumes", []))
    spec |= wanted


def _by_name(before: list[Json], over: list[Json]) -> list[Json]:
    return list(({each["name"]: each for each in before} | {each["name"]: each for each in over}).values())
