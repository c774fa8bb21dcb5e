"""What all pods that train have in common: their environment, volumes, resources and rights."""

from collections.abc import Iterable, Mapping
from typing import Any

from stocktake.cluster.namespace import (
    CHECKPOINT_MINUTES,
    ENDPOINTS,
    OPTIONAL_ENDPOINTS,
    REQUIRED_ENDPOINTS,
    S3_CREDENTIALS,
    S3_KEYS,
    SCRATCH,
    SHARED_CACHE,
)

Volume = tuple[dict[str, Any], dict[str, Any]]  # and its mount
USER = 1000  # of the image
# what the level `restricted` of the pod security standards asks for; also for what is injected into the pod
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}  # of a pod whose node is taken away
# a service mesh's sidecar would outlive the Job, and stand between ranks
NO_MESH = {"sidecar.istio.io/inject": "false"}


def environment(cache: str = f"{SCRATCH}/cache") -> list[dict[str, Any]]:
    """The variables of a pod; addresses and keys come from the objects of its namespace."""
    found: list[dict[str, Any]] = [
        {"name": "STOCKTAKE_CACHE", "value": cache},
        {"name": "STOCKTAKE_CHECKPOINT_MINUTES", "value": str(CHECKPOINT_MINUTES)},
    ]
    found += [from_endpoints(name) for name in REQUIRED_ENDPOINTS]
    found += [from_endpoints(name, optional=True) for name in OPTIONAL_ENDPOINTS]
    return found + [from_secret(name, S3_CREDENTIALS, name) for name in S3_KEYS]


def from_endpoints(name: str, optional: bool = False) -> dict[str, Any]:
    """The variable that has what the ConfigMap `endpoints` says under the same name."""
    source = {"name": ENDPOINTS, "key": name, "optional": optional}
    return {"name": name, "valueFrom": {"configMapKeyRef": source}}


def from_secret(name: str, secret: str, key: str) -> dict[str, Any]:
    """The variable that has a key of a Secret, where there is one."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}


def pod_template(
    container: Mapping[str, Any], shared_memory: str, volumes: Iterable[Volume] = (), **more: Any
) -> dict[str, Any]:
    """The template of a pod that trains: one container, a disk of the pod's life, and a /dev/shm.

    Args:
        container: what only this one has, its environment too.
        shared_memory: size of /dev/shm.
        volumes: besides.
        more: fields of the pod.
    """
    scratch = {"name": "scratch", "emptyDir": {}}, {"name": "scratch", "mountPath": SCRATCH}
    memory = {"medium": "Memory", "sizeLimit": shared_memory}
    shm = {"name": "shm", "emptyDir": memory}, {"name": "shm", "mountPath": "/dev/shm"}
    every = [scratch, shm, *volumes]
    whole = {
        **container, "securityContext": CONTAINER_SECURITY, "volumeMounts": [mount for _, mount in every]
    }  # fmt: skip
    spec = {
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "containers": [whole],
        "volumes": [volume for volume, _ in every],
        **more,
    }
    return {"metadata": {"annotations": NO_MESH}, "spec": spec}


def cache_volume(claim: str) -> Volume:
    """A PersistentVolumeClaim for fetched photos; see `environment` for its use."""
    return claim_volume("cache", claim, SHARED_CACHE)


def claim_volume(name: str, claim: str, path: str, read_only: bool = False) -> Volume:
    """A PersistentVolumeClaim that is mounted."""
    only = {"readOnly": True} if read_only else {}
    volume = {"name": name, "persistentVolumeClaim": {"claimName": claim, **only}}
    return volume, {"name": name, "mountPath": path, **only}


def resources(cpu: str, memory: str, gpu_type: str, gpus: int) -> dict[str, Any]:
    """CPU is requested and not limited, so that idle cores are used."""
    limits: dict[str, Any] = {"memory": memory}
    if gpus:
        limits[gpu_type] = str(gpus)
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": limits}


def gpu_tolerations(gpu_type: str) -> list[dict[str, Any]]:
    """Of the taint that keeps other pods from nodes with GPUs."""
    return [{"key": gpu_type, "operator": "Exists", "effect": "NoSchedule"}]
