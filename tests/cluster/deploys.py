"""What the tests of deploys share: a caller that dies, the objects of an overlay, what a deploy has left."""

import time
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, Cluster
from stocktake.cluster.deploy import roll_back
from stocktake.cluster.lease import LEASE, read_record
from stocktake.cluster.workload import POD, REVISION
from tests.kserve_controller import REVISIONS, Controllers
from tests.kube_api import is_listed

NAME = "shelf-detector"

WAYS = {
    "canary": {"minReplicas": 2},
    "autoscaled": {"minReplicas": 2, "autoscaler": "keda", "pods": 3},
    "revisions": {"mode": "Knative"},
    "direct": {"weighted": False},
}


class Killed(BaseException):
    """The process is gone."""


class DyingCluster:
    """A cluster whose caller dies after some writes: nothing that it does then reaches the API."""

    def __init__(self, cluster: Cluster, writes: int):
        self._cluster, self._left = cluster, writes

    def __getattr__(self, name):
        if self._left == 0:
            raise Killed
        if name not in ("create", "apply", "delete"):
            return getattr(self._cluster, name)

        def write(*arguments, **options):
            done = getattr(self._cluster, name)(*arguments, **options)
            self._left -= 1
            if self._left == 0:
                raise Killed
            return done

        return write


class Models(NamedTuple):
    """Registered versions, oldest first, and the port of a predictor that serves the last one."""

    versions: list
    port: int

    @property
    def uris(self) -> list[str]:
        return [f"{version.model_uri}/" for version in self.versions]


def service(mode: str, uri: str | None = None, autoscaler: str = "none", **predictor) -> dict:
    """The InferenceService as an overlay has it; with `uri` only what a deploy has added to it."""
    head = {"apiVersion": INFERENCE_SERVICE.api_version, "kind": INFERENCE_SERVICE.kind}
    if uri:
        spec = {"predictor": {"model": {"storageUri": uri}}}
        return {**head, "metadata": {"name": NAME}, "spec": spec}
    model = {"modelFormat": {"name": "stocktake", "version": "1"}, "runtime": "stocktake-gpu"}
    annotations = {"serving.kserve.io/deploymentMode": mode, "serving.kserve.io/autoscalerClass": autoscaler}
    metadata = {"name": NAME, "annotations": annotations}
    return {
        **head,
        "metadata": metadata,
        "spec": {"predictor": {"minReplicas": 1, **predictor, "model": model}},
    }


def runtime(name: str = "stocktake-cpu", image: str = "predictor:1") -> dict:
    return {
        "apiVersion": SERVING_RUNTIME.api_version,
        "kind": SERVING_RUNTIME.kind,
        "metadata": {"name": name},
        "spec": {
            "supportedModelFormats": [{"name": "stocktake", "version": "1"}],
            "containers": [{"name": "kserve-container", "image": image}],
        },
    }


def define_revisions(cluster: Cluster) -> None:
    cluster.apply(REVISIONS, "kubectl", force=True)
    while not is_listed(cluster, REVISION):
        time.sleep(0.02)


def expire(cluster: Cluster) -> None:
    """Time goes by: the lease of a deploy that is dead runs out."""
    lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": f"deploy-{NAME}"}}
    spec = {"renewTime": "2026-01-01T00:00:00.000000Z"}
    if cluster.get(LEASE, f"deploy-{NAME}"):
        cluster.apply({**lease, "spec": spec}, "time", force=True)


def record(cluster: Cluster):
    return read_record(cluster.get(LEASE, f"deploy-{NAME}"))


def check_that_requests_were_answered(controllers: Controllers) -> None:
    """At no time was a share of the requests sent to a model without a pod that is ready."""
    assert controllers.history
    for backends in controllers.history:
        assert sum(each.percent for each in backends) == 100, backends
        assert all(each.pods for each in backends), backends


def back_to_the_old_model(cluster, controllers, models, quick) -> None:
    report = roll_back(cluster, NAME, quick)
    assert report.outcome == "rolled back"
    assert controllers.settle()[0][:2] == (100, models.uris[0])
    check_that_requests_were_answered(controllers)


def pods_of(way: str) -> int:
    """How many pods a service has before and after a deploy."""
    return WAYS[way].get("pods") or WAYS[way].get("minReplicas", 1)


def let_an_hour_go_by(cluster: Cluster, controllers: Controllers, patch: pytest.MonkeyPatch) -> None:
    """Once, when there is a pod without a node, and the controllers have said all that they say of it."""
    gone = []

    def sleep(seconds: float) -> None:
        if not gone and any(each["status"].get("phase") == "Pending" for each in cluster.list(POD)):
            controllers.settle()
            gone.append(3600)
        time.sleep(seconds)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(gone), sleep=sleep)
    patch.setattr("stocktake.cluster.target.time", clock)


def read_holder(cluster: Cluster) -> str | None:
    found = cluster.get(LEASE, f"deploy-{NAME}") or {}
    return (found.get("spec") or {}).get("holderIdentity")
