"""Pods in manifests, and what the pod security standard `restricted` asks of them.

As of Kubernetes 1.36, for pods on Linux. Annotations, as AppArmor had its profiles in, are not looked at.
"""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

HOST = ("hostNetwork", "hostPID", "hostIPC")
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
}  # fmt: skip
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}  # fmt: skip
SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
PROFILES = ("RuntimeDefault", "Localhost")  # of seccomp and of AppArmor


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


def all_containers(pod: Object) -> list[Object]:
    """Those that a pod starts with, runs, and is given later to look into it."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in pod.get(kind) or []]


def violations(pod: Object) -> list[str]:
    """What a namespace with restricted pods would refuse a pod for, one line for each."""
    shared = pod.get("securityContext") or {}
    found = [*_of_pod(pod), *_of_context(shared)]
    for container in all_containers(pod):
        own = container.get("securityContext") or {}
        faults = (*_of_context(own), *_lacking(shared, own), *_of_container(container))
        found += [f"container {container['name']}: {fault}" for fault in faults]
    return found


def _of_pod(pod: Object) -> Iterator[str]:
    for field in HOST:
        if pod.get(field):
            yield f"{field} is true"
    for volume in pod.get("volumes") or []:
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: of the kind {kind}"
    sysctls = (pod.get("securityContext") or {}).get("sysctls") or []
    for name in {entry["name"] for entry in sysctls} - SYSCTLS:
        yield f"sets the sysctl {name}"


def _of_context(context: Object) -> Iterator[str]:
    """What neither a pod nor a container may say."""
    selinux = context.get("seLinuxOptions") or {}
    found = {
        "runAsNonRoot is false": context.get("runAsNonRoot") is False,
        "runAsUser is 0": context.get("runAsUser") == 0,
        "seccompProfile is another": _profile(context, "seccompProfile") not in (*PROFILES, None),
        "appArmorProfile is another": _profile(context, "appArmorProfile") not in (*PROFILES, None),
        "SELinux type is another": selinux.get("type", "") not in SELINUX_TYPES,
        "sets SELinux user or role": bool(selinux.get("user") or selinux.get("role")),
        "is a process of its Windows host": bool((context.get("windowsOptions") or {}).get("hostProcess")),
    }
    yield from (fault for fault, is_so in found.items() if is_so)


def _lacking(shared: Object, own: Object) -> Iterator[str]:
    """What the pod or else the container must say."""
    if shared.get("runAsNonRoot") is None and own.get("runAsNonRoot") is None:
        yield "runAsNonRoot is not said"
    if _profile(shared, "seccompProfile") is None and _profile(own, "seccompProfile") is None:
        yield "has no seccompProfile"


def _of_container(container: Object) -> Iterator[str]:
    context = container.get("securityContext") or {}
    capabilities = context.get("capabilities") or {}
    found = {
        "allowPrivilegeEscalation is not false": context.get("allowPrivilegeEscalation") is not False,
        "does not drop all capabilities": "ALL" not in (capabilities.get("drop") or []),
        "adds capabilities": bool(set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}),
        "is privileged": bool(context.get("privileged")),
        "sets procMount": context.get("procMount", "Default") != "Default",
        "takes a port of its host": any(port.get("hostPort") for port in container.get("ports") or []),
        "a probe or a hook names a host": any(_hosts(container)),
    }
    yield from (fault for fault, is_so in found.items() if is_so)


def _profile(context: Object, field: str) -> str | None:
    kind: str | None = (context.get(field) or {}).get("type")
    return kind


def _hosts(container: Object) -> Iterator[str]:
    handlers = [container.get(f"{name}Probe") for name in ("liveness", "readiness", "startup")]
    handlers += (container.get("lifecycle") or {}).values()
    for handler in handlers:
        for how in ("httpGet", "tcpSocket"):
            yield ((handler or {}).get(how) or {}).get("host") or ""
