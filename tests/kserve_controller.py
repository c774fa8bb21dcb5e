"""What the controllers of KServe, Kubernetes and Knative do, as far as a deploy can see it.

Written after KServe 0.21, in pkg/controller/v1beta1/inferenceservice: components/predictor.go (canaries are
first, orphans deleted, replicas of the stable predictor less those of a ready canary), httproute_reconciler
(weights of ready canaries), ksvc_reconciler (traffic targets); and inference_service_status.go (revisions).
"""

import contextlib
import math
import threading
import time
from typing import Any, NamedTuple

from kubernetes.dynamic.exceptions import NotFoundError

from stocktake.cluster.api import INFERENCE_SERVICE, Cluster, ClusterError, Kind
from stocktake.cluster.workload import DEPLOYMENT, HTTP_ROUTE, MODE, POD, REVISION, SOURCE

MANAGER = "controllers"
MERGE = "application/merge-patch+json"
REVISIONS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "revisions.serving.knative.dev"},
    "spec": {
        "group": "serving.knative.dev",
        "names": {"kind": "Revision", "plural": "revisions"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


class Backend(NamedTuple):
    """What gets requests: how many percent of them, which model, how many pods of it are ready."""

    percent: int
    uri: str
    pods: int


class Controllers:
    """Works on one InferenceService, and the rehearsal of it, in a thread until it is closed.

    Attributes:
        ports: where a model answers on the loopback device, by its URI; pods of others are never ready.
        history: where the requests went, after each round.
    """

    def __init__(self, cluster: Cluster, name: str, ports: dict[str, int], weighted: bool = True):
        self.ports, self.history = ports, []
        self.errors: list[Exception] = []
        self._cluster, self._name, self._weighted = cluster, name, weighted
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(60)
        assert not self.errors, self.errors

    def settle(self) -> list[Backend]:
        """Where the requests go once everything that was asked for has been done."""
        rounds = len(self.history)
        deadline = time.monotonic() + 120
        while len(self.history) < rounds + 3:
            assert time.monotonic() < deadline
            assert not self.errors, self.errors
            time.sleep(0.005)
        return self.history[-1]

    def _work(self) -> None:
        done: dict[str, tuple[str, list[Backend]]] = {}
        while not self._closed.is_set():
            try:
                for service in self._cluster.list(INFERENCE_SERVICE):
                    name, version = service["metadata"]["name"], service["metadata"]["resourceVersion"]
                    if done.get(name, ("",))[0] != version:  # no status was written in the last round
                        knative = service["metadata"]["annotations"][MODE] == "Knative"
                        work = self._knative if knative else self._standard
                        done[name] = (version, work(service))
                    if name == self._name:
                        self.history.append(done[name][1])
            except ClusterError as error:
                if "modified" not in str(error) and "deleted" not in str(error) and "404" not in str(error):
                    self.errors.append(error)
            except Exception as error:
                self.errors.append(error)
                return
            time.sleep(0.005)

    def _standard(self, service: dict[str, Any]) -> list[Backend]:
        name, spec = service["metadata"]["name"], service["spec"]
        predictor, canaries = spec["predictor"], spec.get("canary") or []
        least = predictor.get("minReplicas", 1)
        stable = _deployment_name(name, predictor.get("name"))
        there, wanted, statuses, weights = {}, {stable}, [], {}
        for canary in canaries:
            own, percent = canary["predictor"], canary["trafficPercent"]
            replicas = own.get("minReplicas", math.ceil(least * percent / 100))
            deployment = _deployment_name(name, own["name"])
            wanted.add(deployment)
            there[deployment] = self._deployment(name, deployment, own["model"]["storageUri"], replicas)
            ready = there[deployment] > 0
            statuses.append({"name": own["name"], "ready": ready, "trafficPercent": percent})
            if ready:
                weights[deployment] = percent
                least = max(least - replicas, 1)
        uri = predictor["model"].get("storageUri")
        there[stable] = self._deployment(name, stable, uri, least)
        for deployment in self._cluster.list(DEPLOYMENT, f"service={name}"):
            if deployment["metadata"]["name"] not in wanted:
                self._end(deployment["metadata"]["name"])
        weights = {stable: 100 - sum(weights.values()), **weights}
        if there[stable] and self._weighted:
            for route in (name, f"{name}-predictor"):
                self._route(route, weights)
        self._status(INFERENCE_SERVICE, name, {"canaryStatuses": statuses}, service)
        return [
            Backend(percent, self._pods(deployment), there[deployment])
            for deployment, percent in weights.items()
            if percent
        ]

    def _deployment(self, service: str, name: str, uri: str | None, replicas: int) -> int:
        """A Deployment as wanted; how many of its pods are ready: old ones go when there are new ones."""
        labels = {"app": f"isvc.{name}"}
        annotations = {SOURCE: uri} if uri else {}
        template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": _pod_spec(1)}
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": {"service": service}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        }
        deployment = self._applied(DEPLOYMENT, manifest)
        pods = self._cluster.list(POD, f"app=isvc.{name}")
        new = [pod for pod in pods if _source(pod) == uri]
        for number in range(len(new), replicas):
            self._start(f"{name}-{_short(uri)}-{number}", labels, uri)
        starts = uri in self.ports
        old = [pod for pod in pods if _source(pod) != uri]
        for pod in (old if starts else []) + new[replicas:]:
            self._cluster.delete(POD, pod["metadata"]["name"])
        ready = replicas if starts else 0
        available = ready or sum(_source(pod) in self.ports for pod in old)
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas + (0 if starts else len(old)),
            "updatedReplicas": replicas,
            "availableReplicas": available,
            "readyReplicas": available,
        }
        self._status(DEPLOYMENT, name, status, deployment)
        return available

    def _route(self, name: str, weights: dict[str, int]) -> None:
        backends = [{"name": each, "port": 80, "weight": weight} for each, weight in weights.items()]
        self._applied(
            HTTP_ROUTE,
            {
                "apiVersion": HTTP_ROUTE.api_version,
                "kind": HTTP_ROUTE.kind,
                "metadata": {"name": name},
                "spec": {"rules": [{"backendRefs": backends}]},
            },
        )

    def _end(self, deployment: str) -> None:
        self._cluster.delete(DEPLOYMENT, deployment)
        for pod in self._cluster.list(POD, f"app=isvc.{deployment}"):
            self._cluster.delete(POD, pod["metadata"]["name"])

    def _pods(self, deployment: str) -> str:
        """The model of the pods that are ready."""
        sources = {
            _source(pod) for pod in self._cluster.list(POD, f"app=isvc.{deployment}")
        } & self.ports.keys()
        return " ".join(sorted(sources))

    def _knative(self, service: dict[str, Any]) -> list[Backend]:
        name, predictor = service["metadata"]["name"], service["spec"]["predictor"]
        component = dict(((service.get("status") or {}).get("components") or {}).get("predictor") or {})
        uri, percent = predictor["model"].get("storageUri"), predictor.get("canaryTrafficPercent")
        created, rolled_out = component.get("latestCreatedRevision"), component.get("latestRolledoutRevision")
        if not created or self._revision(created)["metadata"]["annotations"][SOURCE] != (uri or "none"):
            number = int(created.rpartition("-")[2]) + 1 if created else 1
            created = f"{name}-predictor-{number:05}"
            self._cluster.apply(_revision(created, uri or "none"), MANAGER)
            self._start(f"{created}-pod", {"serving.knative.dev/revision": created}, uri)
        ready = created if uri in self.ports else component.get("latestReadyRevision")
        traffic = [{"latestRevision": True, "percent": 100}]
        if percent is not None and rolled_out:
            traffic[0]["percent"] = percent
            traffic.append(
                {"latestRevision": False, "revisionName": rolled_out, "percent": 100 - percent, "tag": "prev"}
            )
        if ready:
            traffic[0]["revisionName"] = ready
        if ready and ready != rolled_out and traffic[0]["percent"] == 100:
            component["previousRolledoutRevision"], rolled_out = rolled_out or "", ready
        component |= {"latestCreatedRevision": created, "traffic": traffic}
        component |= {"latestReadyRevision": ready} if ready else {}
        component |= {"latestRolledoutRevision": rolled_out} if rolled_out else {}
        self._status(INFERENCE_SERVICE, name, {"components": {"predictor": component}}, service)
        shares = [(each["percent"], each["revisionName"]) for each in traffic if each.get("revisionName")]
        uris = [self._revision(revision)["metadata"]["annotations"][SOURCE] for _, revision in shares]
        return [
            Backend(share, source, int(source in self.ports))
            for (share, _), source in zip(shares, uris, strict=True)
            if share
        ]

    def _revision(self, name: str) -> dict[str, Any]:
        found = self._cluster.get(REVISION, name)
        assert found
        return found

    def _start(self, name: str, labels: dict[str, str], uri: str | None) -> None:
        if self._cluster.get(POD, name):
            return
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "annotations": {SOURCE: uri} if uri else {}},
            "spec": _pod_spec(self.ports.get(uri, 1)),
        }
        made = self._cluster.create(pod)
        if uri in self.ports:
            ready = [{"type": "Ready", "status": "True"}]
            status = {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "podIPs": [{"ip": "127.0.0.1"}],
                "conditions": ready,
            }
        else:
            unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            unplaced["message"] = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            status = {"phase": "Pending", "conditions": [unplaced]}
        self._status(POD, name, status, made)

    def _applied(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        return self._cluster.apply(manifest, MANAGER, force=True)

    def _status(self, kind: Kind, name: str, status: dict[str, Any], known: dict[str, Any]) -> None:
        if status.items() <= (known.get("status") or {}).items():
            return
        resource = self._cluster._resource(kind)
        with contextlib.suppress(NotFoundError):  # deleted meanwhile
            resource.status.patch(
                body={"status": status}, name=name, namespace=self._cluster.namespace, content_type=MERGE
            )


def _deployment_name(service: str, slot: str | None) -> str:
    return f"{service}-{slot}-predictor" if slot else f"{service}-predictor"


def _source(pod: dict[str, Any]) -> str | None:
    return (pod["metadata"].get("annotations") or {}).get(SOURCE)


def _short(uri: str | None) -> str:
    return uri.rstrip("/").rpartition("/")[2][:6] if uri else "none"


def _revision(name: str, uri: str) -> dict[str, Any]:
    return {
        "apiVersion": REVISION.api_version,
        "kind": REVISION.kind,
        "metadata": {"name": name, "annotations": {SOURCE: uri}},
    }


def _pod_spec(port: int) -> dict[str, Any]:
    container = {"name": "kserve-container", "image": "predictor:1", "ports": [{"containerPort": port}]}
    return {"containers": [container]}
