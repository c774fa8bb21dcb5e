"""What we ask of a Kubernetes API: get, list, apply and delete, with errors that say what to do.

One small class over the official client's dynamic one, so that objects are plain dicts here as in YAML, and
custom resources are no different from built-in ones.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from stocktake.errors import StocktakeError

REQUEST_TIMEOUT_S = (10, 60)  # to connect; to be answered

Object = dict[str, Any]


class ClusterError(StocktakeError):
    """Kubernetes cannot be reached, or refused what was asked of it."""


class Conflict(ClusterError):
    """Somebody else owns a field that was applied, or changed the object meanwhile."""


class Forbidden(ClusterError):
    """This account has no right to do that."""


class NotFound(ClusterError):
    """There is no such object, or its namespace is not there."""


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

    def serves(self, kind: Kind) -> bool:
        """Whether the API server knows objects of this kind, in this version."""
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        try:
            with explained(self.address):
                self._client.resources.get(api_version=kind.api_version, kind=kind.kind)
        except ResourceNotFoundError:
            return False
        return True

    def get(self, kind: Kind, name: str) -> Object | None:
        """An object, or None where there is none of this name."""
        resource = self._resource(kind)
        try:
            with explained(f"{kind.kind} {name}"):
                return resource.get(name=name, **self._where(resource)).to_dict()
        except NotFound:
            return None

    def read(self, path: str) -> Object | None:
        """What the API server has at a path such as /apis/apps/v1/deployments, or None; threads may share it.

        Unlike `get` it needs no discovery, and so sees what is served now, of all namespaces where the path
        names none.
        """
        try:
            return self._ask("get", path)
        except NotFound:
            return None

    def ask(self, path: str, question: Object) -> Object:
        """What the API server answers to an object that is only a question, such as an access review."""
        return self._ask("post", path, question)

    def list(self, kind: Kind, labels: str = "") -> list[Object]:
        """The objects of a kind in the namespace, or all of a kind without namespaces.

        Args:
            kind: of the objects.
            labels: a selector such as 'app=web'; all objects where it is empty.
        """
        resource = self._resource(kind)
        with explained(f"{kind.kind} objects"):
            found = resource.get(label_selector=labels or None, **self._where(resource)).to_dict()
        return list(found["items"])

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Make a new object; unknown fields are refused.

        Raises:
            Conflict: there is one of this name.
            ClusterError: it was refused.
        """
        resource = self._resource(_kind_of(manifest))
        with explained(_label(manifest)):
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
        with explained(_label(manifest)):
            applied = resource.server_side_apply(
                dict(manifest),
                field_manager=manager,
                force_conflicts=force or None,
                **self._where(resource, strict=True),
            )
            return applied.to_dict()

    def delete(self, kind: Kind, name: str, uid: str | None = None) -> bool:
        """Delete an object and what it owns; False where there is none, or only one of another `uid`."""
        resource = self._resource(kind)
        options: Object = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            with explained(f"{kind.kind} {name}"):
                resource.delete(name=name, body=options, **self._where(resource))
        except NotFound:
            return False
        except Conflict:
            if uid is None:
                raise
            return False
        return True

    def _ask(self, method: str, path: str, body: Object | None = None) -> Object:
        with explained(path):
            answer = self._client.request(
                method, path, body, serializer=_as_it_is, _request_timeout=REQUEST_TIMEOUT_S
            )
        return dict(answer)

    def _resource(self, kind: Kind) -> Any:
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        try:
            with explained(self.address):
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


def _as_it_is(_client: Any, answer: Any) -> Any:
    return answer


def _kind_of(manifest: Mapping[str, Any]) -> Kind:
    return Kind(manifest["apiVersion"], manifest["kind"])


def _label(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['kind']} {manifest.get('metadata', {}).get('name', '')}".strip()


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Errors of the client as ours."""
    from kubernetes.dynamic.exceptions import DynamicApiError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except DynamicApiError as error:
        raised = {403: Forbidden, 404: NotFound, 409: Conflict}.get(error.status, ClusterError)
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
