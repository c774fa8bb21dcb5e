"""Pods in manifests, and what the pod security standard `restricted` asks of them.

As of Kubernetes 1.36, and stricter in one thing: sysctls that it calls safe are told, too.
"""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
HOST = ("hostNetwork", "hostPID", "hostIPC")


def predictor_pod(service: Object, runtime: Object) -> Object:
    """The pod that KServe makes of an InferenceService and its ServingRuntime.

    The container is the runtime's with what the service's model says over it; arguments are added up.
    """
    predictor, made = service["spec"]["predictor"], runtime["spec"]
    (base,) = made["containers"]
    model = predictor["model"]
    container = {
        **base,
        **{field: model[field] for field in ("resources", "env", "securityContext") if field in model},
    }
    container["args"] = base["args"] + model.get("args", [])
    fields = ("nodeSelector", "tolerations", "volumes", "securityContext", "terminationGracePeriodSeconds")
    pod = {field: part[field] for part in (made, predictor) for field in fields if field in part}
    return {**pod, "containers": [container]}


def pod_specs(manifest: Object) -> Iterator[Object]:
    """The pods that an object is a template of; an InferenceService is none without its runtime."""
    spec = manifest.get("spec") or {}
    match manifest["kind"]:
        case "Pod" | "ServingRuntime" | "ClusterServingRuntime":
            yield spec
        case "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]["spec"]
        case "ClusterStorageContainer":
            yield {"containers": [spec["container"]]}
        case "Experiment":
            yield from pod_specs(spec["trialTemplate"]["trialSpec"])
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job":
            yield spec["template"]["spec"]


def violations(pod: Object) -> list[str]:
    """What a namespace with restricted pods would refuse a pod for, one line for each."""
    return list(_of_pod(pod)) + [
        f"container {container['name']}: {fault}"
        for kind in ("containers", "initContainers", "ephemeralContainers")
        for container in pod.get(kind) or []
        for fault in _of_container(container, pod.get("securityContext") or {})
    ]


def _of_pod(pod: Object) -> Iterator[str]:
    for field in HOST:
        if pod.get(field):
            yield f"{field} is true"
    for volume in pod.get("volumes") or []:
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: of the kind {kind}"
    context = pod.get("securityContext") or {}
    for name in (entry["name"] for entry in context.get("sysctls") or []):
        yield f"sets the sysctl {name}"


def _of_container(container: Object, pod: Object) -> Iterator[str]:
    own = container.get("securityContext") or {}
    context = {**pod, **own}
    capabilities = own.get("capabilities") or {}
    found = {
        "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is not False,
        "does not drop all capabilities": "ALL" not in (capabilities.get("drop") or []),
        "adds capabilities": bool(set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}),
        "runAsNonRoot is not true": context.get("runAsNonRoot") is not True,
        "runAsUser is 0": context.get("runAsUser") == 0,
        "has no seccompProfile": (context.get("seccompProfile") or {}).get("type")
        not in ("RuntimeDefault", "Localhost"),
        "is privileged": bool(own.get("privileged")),
        "sets procMount": own.get("procMount", "Default") != "Default",
        "takes a port of its host": any(port.get("hostPort") for port in container.get("ports") or []),
        "a probe names a host": any(_hosts(container)),
    }
    yield from (fault for fault, is_so in found.items() if is_so)


def _hosts(container: Object) -> Iterator[str]:
    handlers = [container.get(f"{name}Probe") for name in ("liveness", "readiness", "startup")]
    handlers += (container.get("lifecycle") or {}).values()
    for handler in handlers:
        for how in ("httpGet", "tcpSocket"):
            yield ((handler or {}).get(how) or {}).get("host") or ""
