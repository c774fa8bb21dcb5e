"""What we ask of a Kubernetes API: get, list, apply, delete and permissions, with errors that say what to do.

One small class over the official client's dynamic one, so that objects are plain dicts here as in YAML, and
custom resources are no different from built-in ones.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stocktake.errors import StocktakeError

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")  # in a pod
POOL_SIZE = 64  # threads that may ask at the same time; beyond it the client complains of each
REQUEST_TIMEOUT_S = (10, 60)  # to connect; to be answered
BUSY_TRIES = 10
NO_CACHE = (
    os.devnull + "/none"
)  # never there: what a server knows would be kept under a name that others guess

Object = dict[str, Any]


class ClusterError(StocktakeError):
    """Kubernetes cannot be reached, or refused what was asked of it."""


class Conflict(ClusterError):
    """Somebody else owns a field that was applied, or changed the object meanwhile."""


class Forbidden(ClusterError):
    """This account has no right to do that."""


class Kind(NamedTuple):
    """A kind of object, as the first two lines of its YAML say it."""

    api_version: str
    kind: str

    @property
    def group(self) -> str:
        """Of its API; empty for the core one."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Of its API, such as v1beta1."""
        return self.api_version.rpartition("/")[2]


INFERENCE_SERVICE = Kind("serving.kserve.io/v1beta1", "InferenceService")
SERVING_RUNTIME = Kind("serving.kserve.io/v1alpha1", "ServingRuntime")
EXPERIMENT = Kind("kubeflow.org/v1beta1", "Experiment")
TRIAL = Kind("kubeflow.org/v1beta1", "Trial")
TRAIN_JOB = Kind("trainer.kubeflow.org/v1alpha1", "TrainJob")
CUSTOM_RESOURCE_DEFINITION = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")


class Cluster:
    """One Kubernetes API, seen from one namespace."""

    def __init__(self, client: Any, namespace: str):
        """`client` is a `kubernetes.dynamic.DynamicClient`."""
        self.namespace = namespace
        self._client = client

    @property
    def address(self) -> str:
        """URL of the API server."""
        return str(self._client.configuration.host)

    @property
    def version(self) -> str:
        """Version of the API server, such as v1.36.3."""
        with _explained(self.address):
            return str(self._client.version["kubernetes"]["gitVersion"])

    def serves(self, kind: Kind) -> bool:
        """Whether the API server knows objects of this kind, in this version."""
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        try:
            with _explained(self.address):
                self._client.resources.get(api_version=kind.api_version, kind=kind.kind)
        except ResourceNotFoundError:
            return False
        return True

    def get(self, kind: Kind, name: str) -> Object | None:
        """An object, or None where there is none of this name."""
        from kubernetes.dynamic.exceptions import NotFoundError

        resource = self._resource(kind)
        try:
            with _explained(f"{kind.kind} {name}"):
                return resource.get(name=name, **self._where(resource)).to_dict()
        except NotFoundError:
            return None

    def read(self, path: str) -> Object | None:
        """What the API server has at a path such as /apis/apps/v1/deployments, or None; threads may share it.

        Unlike `get` it needs no discovery, and so sees what is served now, of all namespaces where the path
        names none.
        """
        return self._ask("get", path)

    def list(self, kind: Kind, labels: str = "") -> list[Object]:
        """The objects of a kind in the namespace, or all of a kind without namespaces.

        Args:
            kind: of the objects.
            labels: a selector such as 'app=web'; all objects where it is empty.
        """
        resource = self._resource(kind)
        with _explained(f"{kind.kind} objects"):
            found = resource.get(label_selector=labels or None, **self._where(resource)).to_dict()
        return list(found["items"])

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Make a new object; unknown fields are refused.

        Raises:
            Conflict: there is one of this name.
            ClusterError: it was refused.
        """
        resource = self._resource(_kind_of(manifest))
        with _explained(_label(manifest)):
            return resource.create(dict(manifest), **self._where(resource, strict=True)).to_dict()

    def apply(self, manifest: Mapping[str, Any], manager: str, force: bool = False) -> Object:
        """Server-side apply: the fields in `manifest` become as given, those that `manager` gave before and
        are absent now go, and all others stay as they are. Unknown fields are refused.

        Args:
            manifest: with apiVersion, kind and metadata.name; with metadata.resourceVersion, only over
                exactly that version.
            manager: under whose name the fields are owned.
            force: take fields over that others own.

        Raises:
            Conflict: another manager owns a field, or the object was changed since that resourceVersion.
            ClusterError: it was refused.
        """
        resource = self._resource(_kind_of(manifest))
        with _explained(_label(manifest)):
            applied = resource.server_side_apply(
                dict(manifest),
                field_manager=manager,
                force_conflicts=force or None,
                **self._where(resource, strict=True),
            )
            return applied.to_dict()

    def delete(self, kind: Kind, name: str) -> bool:
        """Delete an object and what it owns; False where there is none."""
        from kubernetes.dynamic.exceptions import NotFoundError

        resource = self._resource(kind)
        try:
            with _explained(f"{kind.kind} {name}"):
                resource.delete(name=name, propagation_policy="Background", **self._where(resource))
        except NotFoundError:
            return False
        return True

    def wait(
        self,
        kind: Kind,
        name: str,
        done: Callable[[Object], bool],
        timeout_s: float,
        poll_s: float = 2.0,
    ) -> Object | None:
        """The object as soon as `done` says so; None where it does not in time.

        Raises:
            ClusterError: the object is gone; whatever `done` raises.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.get(kind, name)
            if found is None:
                raise ClusterError(f"{kind.kind} {self.namespace}/{name} was deleted meanwhile")
            if done(found):
                return found
            if time.monotonic() >= deadline:
                return None
            time.sleep(poll_s)

    def may(self, verb: str, group: str, resource: str, account: str | None = None) -> bool:
        """Whether we, or a service account, may do `verb` to a resource in it.

        Args:
            verb: such as get or patch.
            group: of the API, such as serving.kserve.io; empty for the core one.
            resource: its plural, such as inferenceservices; with /status or /log for a part of it.
            account: namespace:name of the service account; to ask for others takes rights of its own.
        """
        whole, _, part = resource.partition("/")
        attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": whole}
        if part:
            attributes["subresource"] = part
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "LocalSubjectAccessReview" if account else "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        if account:
            home = account.partition(":")[0]
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
            review["metadata"] = {"namespace": self.namespace}
            review["spec"] |= {"user": f"system:serviceaccount:{account}", "groups": groups}
            path = f"/apis/authorization.k8s.io/v1/namespaces/{self.namespace}/localsubjectaccessreviews"
        answer = self._ask("post", path, review)
        return bool(answer and answer["status"]["allowed"])

    def _ask(self, method: str, path: str, body: Object | None = None) -> Object | None:
        from kubernetes.dynamic.exceptions import NotFoundError

        try:
            with _explained(path):
                answer = self._client.request(
                    method, path, body, serializer=_as_it_is, _request_timeout=REQUEST_TIMEOUT_S
                )
        except NotFoundError:
            return None
        return dict(answer)

    def _resource(self, kind: Kind) -> Any:
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        try:
            with _explained(self.address):
                return self._client.resources.get(api_version=kind.api_version, kind=kind.kind)
        except ResourceNotFoundError:
            raise ClusterError(
                f"{self.address} does not know {kind.kind} of {kind.api_version}: what defines it is not "
                "installed, or is of another version; `python -m pipelines doctor` says which"
            ) from None

    def _where(self, resource: Any, strict: bool = False) -> dict[str, Any]:
        """Arguments of every request; a strict one is refused for a field that the server does not know."""
        where: dict[str, Any] = {"_request_timeout": REQUEST_TIMEOUT_S}
        if resource.namespaced:
            where["namespace"] = self.namespace
        if strict:
            where["query_params"] = [("fieldValidation", "Strict")]
        return where


def connect(namespace: str | None = None, context: str | None = None) -> Cluster:
    """The cluster that we run in, or that kubectl is set to.

    Args:
        namespace: of the objects; that of the pod or of the context when None.
        context: of the kubeconfig (KUBECONFIG or ~/.kube/config); the current one when None.

    Raises:
        ClusterError: there is no configuration, or the API cannot be reached.
    """
    from kubernetes import client, config
    from kubernetes.dynamic import DynamicClient
    from urllib3 import Retry

    settings = client.Configuration()
    settings.connection_pool_maxsize = POOL_SIZE
    try:
        if context is None and "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=settings)
            found = NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.is_file() else None
        else:
            file = os.environ.get("KUBECONFIG")  # the client itself looks once, when it is imported
            config.load_kube_config(file, context, settings)
            chosen = _context(config.list_kube_config_contexts(file), context)
            found = chosen.get("namespace")
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"no cluster is configured ({error}); `kubectl config current-context` must name one, or set "
            "KUBECONFIG"
        ) from error
    # A server that has too much to do names the time to come back; one that is not there is said at once.
    settings.retries = Retry(
        BUSY_TRIES, connect=0, read=0, redirect=0, other=0, allowed_methods=None, raise_on_status=False
    )
    with _explained(settings.host):
        talking = DynamicClient(client.ApiClient(settings), cache_file=NO_CACHE)
        return Cluster(talking, namespace or found or "default")


def _context(contexts: tuple[list[Object], Object], wanted: str | None) -> Object:
    every, current = contexts
    entry = next((each for each in every if each["name"] == wanted), current)
    return dict(entry.get("context") or {})


def _as_it_is(_client: Any, answer: Any) -> Any:
    return answer


def _kind_of(manifest: Mapping[str, Any]) -> Kind:
    return Kind(manifest["apiVersion"], manifest["kind"])


def _label(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['kind']} {manifest.get('metadata', {}).get('name', '')}".strip()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Errors of the client as ours; "not found" stays what it is, for callers to whom it is an answer."""
    from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except NotFoundError:
        raise
    except DynamicApiError as error:
        raised = {403: Forbidden, 409: Conflict}.get(error.status, ClusterError)
        raise raised(f"{what}: {error.status} {_reason(error)}") from error
    except (HTTPError, OSError) as error:
        raise ClusterError(
            f"{what}: the Kubernetes API does not answer ({error}); `kubectl cluster-info` should"
        ) from error


def _reason(error: Any) -> str:
    """The API server's own sentence."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason or error.body)
