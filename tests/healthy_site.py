"""A cluster on which all is well, as far as an API server without controllers can say so."""

import base64
import time
from typing import Any

from stocktake.cluster.api import Cluster, Kind
from stocktake.doctor.site import Site
from tests.kube_api import DEFINITION, is_listed

MANAGER = "tests"
KSERVE = "kserve"
IMAGE = "kserve/kserve-controller:v0.21.0"


def healthy(cluster: Cluster) -> Site:
    """Make, or make well again, all that the checks look at; return it as they see it."""
    _define_storage_containers(cluster)
    searches = {"katib.kubeflow.org/metrics-collector-injection": "enabled"}
    put(cluster, "v1", "Namespace", KSERVE)
    put(cluster, "v1", "Namespace", "kubeflow", labels=searches)
    put(
        cluster, "v1", "Namespace", cluster.namespace,
        labels={"pod-security.kubernetes.io/enforce": "restricted", **searches},
    )  # fmt: skip
    kserve = Cluster(cluster._client, KSERVE)
    deployment(kserve, "kserve-controller-manager", IMAGE, {"control-plane": "kserve-controller-manager"})
    settings(cluster, "Standard", "true")
    put(
        kserve, "gateway.networking.k8s.io/v1", "Gateway", "kserve-ingress-gateway",
        spec={
            "gatewayClassName": "envoy", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]
        },
    )  # fmt: skip
    state(kserve, "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/kserve-ingress-gateway", {
        "conditions": [condition("Programmed", "True")], "addresses": [{"value": "192.0.2.7"}]
    })  # fmt: skip
    deployment(
        Cluster(cluster._client, "kubeflow"), "ml-pipeline", "kfp-api-server:2.17.1", {"app": "ml-pipeline"}
    )
    put(Cluster(cluster._client, "kubeflow"), "v1", "ConfigMap", "endpoints", data={})
    node(cluster, "gpu-0", {"nvidia.com/gpu": "4"})
    put(
        cluster, "v1", "ConfigMap", "endpoints",
        data={
            "MLFLOW_TRACKING_URI": "http://mlflow.tools.svc:5000", "STOCKTAKE_STORE": "s3://stocktake",
            "S3_ENDPOINT_URL": "http://minio.tools.svc:9000",
        },
    )  # fmt: skip
    secret(cluster, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
    put(cluster, "serving.kserve.io/v1alpha1", "ClusterStorageContainer", "stocktake-s3", spec={})
    put(
        cluster, "serving.kserve.io/v1alpha1", "ServingRuntime", "stocktake-gpu",
        spec={
            "containers": [{"name": "kserve-container", "image": "stocktake-predictor-gpu:0.1.0"}],
            "supportedModelFormats": [{"name": "stocktake", "version": "1"}],
        },
    )  # fmt: skip
    predictor(cluster)
    return Site(cluster)


def put(cluster: Cluster, api_version: str, kind: str, name: str, /, **parts: Any) -> None:
    """Apply an object; `labels` and `annotations` go into its metadata."""
    metadata = {key: parts.pop(key) for key in ("labels", "annotations") if key in parts}
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}, **parts}
    cluster.apply(manifest, MANAGER, force=True)


def state(cluster: Cluster, path: str, status: dict[str, Any]) -> None:
    """Write what a controller would."""
    cluster._client.request(
        "patch", f"{path}/status", {"status": status}, content_type="application/merge-patch+json"
    )


def condition(kind: str, status: str, message: str = "") -> dict[str, str]:
    """One condition of a status."""
    return {
        "type": kind, "status": status, "reason": "Test", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def deployment(cluster: Cluster, name: str, image: str, labels: dict[str, str], available: int = 1) -> None:
    """A Deployment that has so many pods."""
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": image}]}
        },
    }  # fmt: skip
    put(cluster, "apps/v1", "Deployment", name, labels=labels, spec=spec)
    counts = {"replicas": 1, "availableReplicas": available, "readyReplicas": available}
    state(cluster, f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/{name}", counts)


def settings(cluster: Cluster, mode: str, gateway_api: str) -> None:
    """KServe's settings, each as JSON in a string."""
    ingress = (
        f'{{"enableGatewayApi": {gateway_api}, "kserveIngressGateway": "kserve/kserve-ingress-gateway"}}'
    )
    data = {"deploy": f'{{"defaultDeploymentMode": "{mode}"}}', "ingress": ingress, "_example": "{"}
    put(Cluster(cluster._client, KSERVE), "v1", "ConfigMap", "inferenceservice-config", data=data)


def node(cluster: Cluster, name: str, gpus: dict[str, str], *taints: tuple[str, str]) -> None:
    """A node that is ready: of a new one the API server says by a taint that it is not."""
    wanted = [{"key": key, "effect": effect} for key, effect in taints]
    put(cluster, "v1", "Node", name)
    put(cluster, "v1", "Node", name, spec={"taints": wanted})
    state(cluster, f"/api/v1/nodes/{name}", {"allocatable": gpus or None, "capacity": gpus or None})


def secret(cluster: Cluster, annotations: dict[str, str] | None = None, **values: str) -> None:
    """The key of the S3 store."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    put(cluster, "v1", "Secret", "s3-credentials", annotations=annotations or {}, data=data)


def predictor(cluster: Cluster, name: str = "shelf-detector", **changes: Any) -> None:
    """An InferenceService that is ready; changes are of its predictor but for a few."""
    mode, autoscaler = changes.pop("mode", "Standard"), changes.pop("autoscaler", None)
    uri, ready = changes.pop("uri", "s3://a/b/"), changes.pop("ready", "True")
    stopped = changes.pop("stopped", False)
    model = {
        "modelFormat": {"name": "stocktake"}, "runtime": changes.pop("runtime", "stocktake-gpu"),
        "resources": {"limits": {changes.pop("resource", "nvidia.com/gpu"): "1"}},
        **({"storageUri": uri} if uri else {}),
    }  # fmt: skip
    spec = {"minReplicas": 1, "storageContainerName": "stocktake-s3", "model": model, **changes}
    spec = {key: value for key, value in spec.items() if value is not None}
    notes = {"serving.kserve.io/deploymentMode": mode} if mode else {}
    if stopped:
        notes["serving.kserve.io/stop"] = "true"
    if autoscaler:
        notes["serving.kserve.io/autoscalerClass"] = autoscaler
    put(
        cluster, "serving.kserve.io/v1beta1", "InferenceService", name,
        annotations=notes, spec={"predictor": spec},
    )  # fmt: skip
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{cluster.namespace}/inferenceservices/{name}"
    state(cluster, path, {"conditions": [condition("Ready", ready, "no GPU is free")]})


def _define_storage_containers(cluster: Cluster) -> None:
    """KServe's ClusterStorageContainer, for its definition is not in STOCKTAKE_CRDS."""
    name = "clusterstoragecontainers.serving.kserve.io"
    if cluster.get(DEFINITION, name):
        return
    names = {"plural": "clusterstoragecontainers", "kind": "ClusterStorageContainer"}
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    put(
        cluster, "apiextensions.k8s.io/v1", "CustomResourceDefinition", name,
        spec={"group": "serving.kserve.io", "scope": "Cluster", "names": names, "versions": [version]},
    )  # fmt: skip
    while not is_listed(cluster, Kind("serving.kserve.io/v1alpha1", "ClusterStorageContainer")):
        time.sleep(0.05)
