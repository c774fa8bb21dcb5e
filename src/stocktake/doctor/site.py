"""What the checks of a cluster share: objects that several of them look at, each read once."""

import base64
import json
import os
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from stocktake.cluster.api import Cluster, Forbidden, Object
from stocktake.cluster.namespace import ENDPOINTS, S3_CREDENTIALS
from stocktake.cluster.rehearsal import is_rehearsal
from stocktake.doctor.finding import Unseen

KSERVE = "/apis/serving.kserve.io"
KSERVE_CONTROLLER = "control-plane%3Dkserve-controller-manager"
KSERVE_NAMESPACE = "kserve"  # where we may not look for it
DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
LEGACY_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}
INSIDE = re.compile(r"[^.]+|.*\.svc(\..*)?")  # host names that only pods can resolve
SHORT = re.compile(r"[^.]+\.[^.]*[a-z][^.]*")  # name.namespace, or a host of the world


class Site:
    """One cluster, seen from one namespace; safe to share between threads."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.namespace = cluster.namespace

    def ours(self, api: str, kind: str, name: str = "") -> str:
        """Path of the objects of our namespace: `api` as /api/v1, `kind` as pods."""
        return f"{api}/namespaces/{self.namespace}/{kind}/{name}".rstrip("/")

    def items(self, path: str) -> list[Object]:
        """The objects of a list; none where the API server does not know the kind."""
        return list((self.cluster.read(path) or {}).get("items") or ())

    @cached_property
    def inference_services(self) -> list[Object]:
        """Of our namespace, without those in which candidates are rehearsed."""
        return [each for each in self._all_services if not is_rehearsal(each)]

    @property
    def rehearsals(self) -> list[Object]:
        """The InferenceServices in which candidates are rehearsed."""
        return [each for each in self._all_services if is_rehearsal(each)]

    @cached_property
    def _all_services(self) -> list[Object]:
        return self.items(self.ours(f"{KSERVE}/v1beta1", "inferenceservices"))

    @cached_property
    def runtimes(self) -> dict[str, Object]:
        """What the predictors here may name: ServingRuntimes of our namespace and of the cluster."""
        shared = self.items(f"{KSERVE}/v1alpha1/clusterservingruntimes")
        own = self.items(self.ours(f"{KSERVE}/v1alpha1", "servingruntimes"))
        return {each["metadata"]["name"]: each for each in (*shared, *own)}

    @cached_property
    def nodes(self) -> list[Object]:
        """Of the cluster."""
        return self.items("/api/v1/nodes")

    @cached_property
    def pipeline_servers(self) -> list[Object]:
        """The Deployments of Kubeflow Pipelines' API server, where we may look for them."""
        return self.items("/apis/apps/v1/deployments?labelSelector=app%3Dml-pipeline")

    @cached_property
    def endpoints(self) -> dict[str, str]:
        """What the ConfigMap of that name says; empty where there is none."""
        found = self.cluster.read(self.ours("/api/v1", "configmaps", ENDPOINTS))
        return dict((found or {}).get("data") or {})

    @cached_property
    def secret(self) -> Object | None:
        """The Secret with the key of the S3 store."""
        return self.cluster.read(self.ours("/api/v1", "secrets", S3_CREDENTIALS))

    @property
    def credentials(self) -> dict[str, str]:
        """What is in that Secret, decoded."""
        data = (self.secret or {}).get("data") or {}
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}

    @cached_property
    def kserve_controller(self) -> Object | None:
        """The Deployment of KServe's controller, in whatever namespace we may look."""
        deployments = "/apis/apps/v1/{}deployments?labelSelector=" + KSERVE_CONTROLLER
        try:
            found = self.items(deployments.format(""))
        except Forbidden:
            found = self.items(deployments.format(f"namespaces/{KSERVE_NAMESPACE}/"))
        return found[0] if found else None

    @cached_property
    def kserve_config(self) -> dict[str, Any]:
        """KServe's settings, parsed; empty where its ConfigMap is not there."""
        controller = self.kserve_controller
        namespace = controller["metadata"]["namespace"] if controller else KSERVE_NAMESPACE
        found = self.cluster.read(f"/api/v1/namespaces/{namespace}/configmaps/inferenceservice-config")
        return {
            key: _parsed(value) for key, value in ((found or {}).get("data") or {}).items() if key[0] != "_"
        }

    @property
    def default_mode(self) -> str:
        """How KServe deploys what does not say it: Standard or Knative."""
        mode = str(self.kserve_config.get("deploy", {}).get("defaultDeploymentMode") or "Standard")
        return LEGACY_MODES.get(mode, mode)

    def mode(self, service: Object) -> str:
        """How an InferenceService is deployed."""
        mode = str(service["metadata"].get("annotations", {}).get(DEPLOYMENT_MODE) or self.default_mode)
        return LEGACY_MODES.get(mode, mode)

    def pod_specs(self, service: Object) -> Iterator[Object]:
        """What an InferenceService and its runtime say of its pods, the more particular first."""
        predictor = service["spec"]["predictor"]
        model = predictor.get("model") or {}
        yield {**predictor, "containers": [*predictor.get("containers", ()), *([model] if model else ())]}
        runtime = self.runtimes.get(model.get("runtime", ""))
        if runtime:
            yield runtime["spec"]

    def from_here(self, url: str, variable: str) -> str:
        """Where we can ask an address of the cluster: itself, or a port that was forwarded to this machine.

        Args:
            url: as pods see it.
            variable: of the environment, which names the forwarded port.

        Raises:
            Unseen: pods can reach it and we cannot; says how to forward it.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        name, namespace = [*host.split("."), self.namespace][:2]
        inside = INSIDE.fullmatch(host) or (SHORT.fullmatch(host) and self._is_service(name, namespace))
        if "KUBERNETES_SERVICE_HOST" in os.environ or not inside:
            return url
        if forwarded := os.environ.get(variable):
            return forwarded
        port = parts.port or (443 if parts.scheme == "https" else 80)
        raise Unseen(
            f"{url} is a name within the cluster; `kubectl -n {namespace} port-forward svc/{name} {port}`, "
            f"then run this with {variable}={parts.scheme}://localhost:{port}"
        )

    def _is_service(self, name: str, namespace: str) -> bool:
        return self.cluster.read(f"/api/v1/namespaces/{namespace}/services/{name}") is not None


def gpus_of(quantities: Object | None) -> dict[str, int]:
    """Resource name to number of the GPUs in `limits` or `allocatable`, whole ones and MIG slices."""
    return {
        name: int(count)
        for name, count in (quantities or {}).items()
        if re.match(r"[\w.-]+/(gpu|mig-)", name) and int(count)
    }


def conditions(thing: Object) -> dict[str, Object]:
    """The conditions in an object's status, by their type."""
    return {each["type"]: each for each in (thing.get("status") or {}).get("conditions") or ()}


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return {}
