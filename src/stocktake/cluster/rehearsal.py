"""A candidate on its own, on CPU, before it takes the place of the only model that there is room for."""

from typing import Any

from stocktake.cluster.api import INFERENCE_SERVICE, Object
from stocktake.cluster.lease import MANAGER
from stocktake.cluster.rollout import AUTOSCALER_CLASS, Served
from stocktake.cluster.workload import MODE

CPU_RUNTIME = "stocktake-cpu"
# What the service says of scale and of GPU nodes; resources are then those of the runtime.
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
    model = {key: value for key, value in own["model"].items() if key not in ("resources", "name")}
    model |= {"runtime": CPU_RUNTIME, "storageUri": candidate.uri}
    predictor: dict[str, Any] = {key: value for key, value in own.items() if key not in NOT_ON_CPU}
    predictor |= {"minReplicas": 1, "maxReplicas": 1, "model": model}
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {
            "name": rehearsal_name(metadata["name"]),
            "labels": {
                "app.kubernetes.io/part-of": "stocktake",
                "app.kubernetes.io/managed-by": MANAGER,
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
