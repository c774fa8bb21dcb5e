"""Rights of an account, as a Role gives them."""

import time
from collections.abc import Iterable

from stocktake.cluster.api import Cluster
from stocktake.cluster.rights import TO_DEPLOY, TO_SEARCH, TO_TRAIN, Right
from tests.healthy_site import put

ALL = (*TO_DEPLOY, *TO_SEARCH, *TO_TRAIN)
API = "rbac.authorization.k8s.io"


def allow(cluster: Cluster, subject: dict[str, str], wanted: Iterable[Right] = ALL) -> None:
    """Give somebody these rights in this namespace; return when the API server has heard of it."""
    wanted = tuple(wanted)
    rules = [{"apiGroups": [group], "resources": [thing], "verbs": [verb]} for verb, group, thing in wanted]
    put(cluster, f"{API}/v1", "Role", "all", rules=rules)
    role = {"apiGroup": API, "kind": "Role", "name": "all"}
    put(cluster, f"{API}/v1", "RoleBinding", subject["name"], roleRef=role, subjects=[subject])
    home = subject.get("namespace")
    user = f"system:serviceaccount:{home}:{subject['name']}" if home else subject["name"]
    verb, group, thing = wanted[0]
    asked = {"namespace": cluster.namespace, "verb": verb, "group": group, "resource": thing}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    review["spec"] = {"user": user, "resourceAttributes": asked}
    while not cluster.create(review)["status"]["allowed"]:  # new Roles are heard of a little later
        time.sleep(0.02)
