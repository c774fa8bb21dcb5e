"""Kubeflow Pipelines: what its defaults would do to our runs."""

import re

from stocktake.cluster.api import Object
from stocktake.cluster.namespace import ENDPOINTS
from stocktake.doctor.finding import Finding, ok, warn
from stocktake.doctor.site import Site

CONFIG = "/config"  # of the API server: config.json lies there
BAKED_IN = r":v?2\.17\.0\b"  # whose config.json names the MLflow of somebody's own installation


def pipelines(site: Site) -> Finding:
    """Whether Kubeflow Pipelines runs, and does not ask an MLflow that is not ours before each run."""
    if not site.pipeline_servers:
        return warn(
            "Kubeflow Pipelines is not installed: pipelines run on this machine only", "docs/install.md"
        )
    server = site.pipeline_servers[0]
    where = f"ml-pipeline in {server['metadata']['namespace']}"
    if not (server.get("status") or {}).get("availableReplicas"):
        return warn(f"{where} does not run", f"kubectl -n {server['metadata']['namespace']} get pods")
    container = server["spec"]["template"]["spec"]["containers"][0]
    mounts = [each["mountPath"].rstrip("/") for each in container.get("volumeMounts", ())]
    mounted = any(path in (CONFIG, f"{CONFIG}/config.json") for path in mounts)
    if re.search(BAKED_IN, container["image"]) and not mounted:
        return warn(
            f"{where} ({_version(container)}) has another installation's MLflow built in: each run waits a "
            "minute for it and is marked as failed there",
            "add manifests/kubeflow-pipelines/api-server to what installs it",
        )
    home = server["metadata"]["namespace"]
    if site.cluster.read(f"/api/v1/namespaces/{home}/configmaps/{ENDPOINTS}") is None:
        return warn(
            f"no ConfigMap {ENDPOINTS} in {home}: no step of a run there can start",
            "kubectl apply --server-side -k manifests/kubeflow-pipelines/runs",
        )
    return ok(f"{where}, {_version(container)}{', config.json of its own' if mounted else ''}")


def _version(container: Object) -> str:
    return str(container["image"]).rpartition("/")[2]
