"""What we do in a namespace: the one list of the rights that it takes, and whether they are given."""

from collections.abc import Iterable
from typing import NamedTuple

from stocktake.cluster.api import (
    EXPERIMENT,
    INFERENCE_SERVICE,
    SERVING_RUNTIME,
    TRAIN_JOB,
    Cluster,
    ClusterError,
    Object,
)

REVIEWS = "/apis/authorization.k8s.io/v1"


class Right(NamedTuple):
    """Something that may be done to the objects of a namespace; the group of core objects is empty."""

    verb: str
    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{self.group and '.'}{self.group}"


def _rights(group: str, resource: str, *verbs: str) -> tuple[Right, ...]:
    return tuple(Right(verb, group, resource) for verb in verbs)


TO_DEPLOY = (
    *_rights(INFERENCE_SERVICE.group, "inferenceservices", "get", "create", "patch", "delete"),
    *_rights(SERVING_RUNTIME.group, "servingruntimes", "get"),
    *_rights("gateway.networking.k8s.io", "httproutes", "get"),
    *_rights("serving.knative.dev", "revisions", "get"),
    *_rights("apps", "deployments", "get"),
    *_rights("", "pods", "list"),
    *_rights("coordination.k8s.io", "leases", "get", "create", "patch"),
)
TO_SEARCH = (
    *_rights(EXPERIMENT.group, "experiments", "get", "create", "patch"),
    *_rights(EXPERIMENT.group, "trials", "list"),
)
TO_TRAIN = (
    *_rights(TRAIN_JOB.group, "trainjobs", "get", "create", "patch", "delete"),
    *_rights(TRAIN_JOB.group, "trainingruntimes", "create", "patch"),
)
TO_SEE_LABELS = Right("get", "", "namespaces")  # of the namespace; a search does without


def lacking(cluster: Cluster, wanted: Iterable[Right], account: str | None = None) -> str:
    """Which of the rights are not given, with commas between them; see `may`."""
    return ", ".join(str(right) for right in wanted if not may(cluster, right, account))


def require(cluster: Cluster, wanted: Iterable[Right]) -> None:
    """Make sure of rights before anything is begun.

    Raises:
        ClusterError: we lack some; names them.
    """
    if denied := lacking(cluster, wanted):
        raise ClusterError(
            f"this account may not {denied} in {cluster.namespace}; bind a Role to it that may, such as"
            " stocktake-pipelines of our manifests"
        )


def may(cluster: Cluster, right: Right, account: str | None = None) -> bool:
    """Whether we, or a service account, have a right in the cluster's namespace.

    Args:
        cluster: the API.
        right: its resource may be a part such as pods/log.
        account: namespace:name of the service account; to ask for others takes rights of its own.
    """
    whole, _, part = right.resource.partition("/")
    asked = {"namespace": cluster.namespace, "verb": right.verb, "group": right.group, "resource": whole}
    if part:
        asked["subresource"] = part
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview" if account else "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    path = f"{REVIEWS}/selfsubjectaccessreviews"
    if account:
        home = account.partition(":")[0]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
        review["metadata"] = {"namespace": cluster.namespace}
        review["spec"] |= {"user": f"system:serviceaccount:{account}", "groups": groups}
        path = f"{REVIEWS}/namespaces/{cluster.namespace}/localsubjectaccessreviews"
    return bool(cluster.ask(path, review)["status"]["allowed"])
