"""A candidate on its own, on CPU, before it takes the place of the only model that there is room for."""

from collections.abc import Mapping
from typing import Any

from stocktake.cluster.api import INFERENCE_SERVICE, Object
from stocktake.cluster.lease import MANAGER
from stocktake.cluster.rollout import AUTOSCALER_CLASS, Served
from stocktake.cluster.workload import MODE

CPU_RUNTIME = "stocktake-cpu"
FEW_CORES = "1"  # requested, for a photo at a time
MANAGED_BY = "app.kubernetes.io/managed-by"
# What the service says of scale and of GPU nodes.
NOT_ON_CPU = (
    "name", "minReplicas", "maxReplicas", "autoScaling", "scaleTarget", "scaleMetric", "scaleMetricType",
    "deploymentStrategy", "canaryTrafficPercent", "nodeSelector", "tolerations", "affinity",
)  # fmt: skip


def rehearsal_name(service: str) -> str:
    """The InferenceService that a candidate is rehearsed in."""
    return f"{service}-candidate"


def rehearsal_service(live: Object, candidate: Served) -> Object:
    """A small InferenceService of a candidate, like the one that it is for, with which it goes away."""
    metadata = live["metadata"]
    own = live["spec"]["predictor"]
    model = {key: value for key, value in own["model"].items() if key != "name"}
    model |= {"runtime": CPU_RUNTIME, "storageUri": candidate.uri}
    model["resources"] = _without_devices(own["model"].get("resources") or {})
    predictor: dict[str, Any] = {key: value for key, value in own.items() if key not in NOT_ON_CPU}
    predictor |= {"minReplicas": 1, "maxReplicas": 1, "model": model}
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {
            "name": rehearsal_name(metadata["name"]),
            "labels": {
                "app.kubernetes.io/part-of": "stocktake",
                MANAGED_BY: MANAGER,
                "networking.kserve.io/visibility": "cluster-local",
            },
            "annotations": {MODE: "Standard", AUTOSCALER_CLASS: "none"},
            "ownerReferences": [
                {
                    "apiVersion": live["apiVersion"],
                    "kind": live["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "spec": {"predictor": predictor},
    }


def is_rehearsal(service: Object) -> bool:
    """Whether a deploy has made an InferenceService to rehearse a candidate in."""
    return (service["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER


def _without_devices(resources: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Memory and CPU; of the cores beside a GPU, which decode for many, few are requested."""
    kept = {
        part: {name: quantity for name, quantity in (resources.get(part) or {}).items() if "/" not in name}
        for part in ("requests", "limits")
    }
    if kept["limits"] != (resources.get("limits") or {}):
        kept["requests"]["cpu"] = FEW_CORES
    return kept
