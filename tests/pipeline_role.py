"""Somebody who may do in a namespace what the Role of our pipelines gives, and nothing else."""

import time

import yaml

from stocktake.cluster.api import Cluster
from stocktake.cluster.rights import TO_DEPLOY, TO_SEARCH, TO_TRAIN, lacking
from tests.kube_api import KubeApi
from tests.kustomize import MANIFESTS


def as_pipelines(api: KubeApi, cluster: Cluster) -> Cluster:
    """The same namespace in their eyes; `cluster` is that of somebody who may make Role and RoleBinding."""
    for made in yaml.safe_load_all((MANIFESTS / "pipelines/rbac.yaml").read_text()):
        if made["kind"] == "RoleBinding":
            group = made["roleRef"]["apiGroup"]
            made["subjects"] = [{"kind": "User", "name": "nobody", "apiGroup": group}]
        cluster.create(made)
    runner = api.connect(cluster.namespace, "nobody")
    deadline = time.monotonic() + 60
    while denied := lacking(runner, (*TO_DEPLOY, *TO_SEARCH, *TO_TRAIN)):
        assert time.monotonic() < deadline, f"may not {denied}"
        time.sleep(0.02)  # new Roles are heard of a little later
    return runner
