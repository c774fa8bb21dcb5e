"""What all pods that train have in common: their environment, volumes, resources and rights."""

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
    for name in (*REQUIRED_ENDPOINTS, *OPTIONAL_ENDPOINTS):
        source = {"name": ENDPOINTS, "key": name, "optional": name in OPTIONAL_ENDPOINTS}
        found.append({"name": name, "valueFrom": {"configMapKeyRef": source}})
    for name in S3_KEYS:
        source = {"name": S3_CREDENTIALS, "key": name, "optional": True}
        found.append({"name": name, "valueFrom": {"secretKeyRef": source}})
    return found


def own_volumes(shared_memory: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A disk of the pod's life and a /dev/shm of this size, as volumes and their mounts."""
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
    ]
    return volumes, [{"name": "scratch", "mountPath": SCRATCH}, {"name": "shm", "mountPath": "/dev/shm"}]


def cache_volume(claim: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A PersistentVolumeClaim for fetched photos, as volume and mount; see `environment` for its use."""
    volume = {"name": "cache", "persistentVolumeClaim": {"claimName": claim}}
    return volume, {"name": "cache", "mountPath": SHARED_CACHE}


def resources(cpu: str, memory: str, gpu_type: str, gpus: int) -> dict[str, Any]:
    """CPU is requested and not limited, so that idle cores are used."""
    limits: dict[str, Any] = {"memory": memory}
    if gpus:
        limits[gpu_type] = str(gpus)
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": limits}


def gpu_tolerations(gpu_type: str) -> list[dict[str, Any]]:
    """Of the taint that keeps other pods from nodes with GPUs."""
    return [{"key": gpu_type, "operator": "Exists", "effect": "NoSchedule"}]
