"""A real Kubernetes API takes every overlay, twice, and its pods where pods are restricted."""

import shutil

import pytest

from stocktake.cluster.api import Cluster
from tests.kube_api import KubeApi
from tests.kustomize import MANIFESTS, OVERLAYS, Objects, render_with
from tests.pods import pod_specs

UNKNOWN = ("ClusterStorageContainer",)  # its definition is not among those of STOCKTAKE_CRDS
COMPONENTS = {
    "gpu": ["components/gateway-route", "components/quota"],
    "knative-gpu": ["components/predictor-token"],
}


@pytest.fixture(params=OVERLAYS)
def site(request, kube_api: KubeApi, tmp_path) -> tuple[Cluster, Objects]:
    """The objects of an overlay, for a namespace of their own."""
    namespace = f"overlay-{request.param}"
    path = shutil.copytree(MANIFESTS, tmp_path / "manifests") / "namespace/kustomization.yaml"
    path.write_text(path.read_text().replace("namespace: stocktake\n", f"namespace: {namespace}\n"))
    components = [f"manifests/{each}" for each in COMPONENTS.get(request.param, [])]
    objects = render_with(tmp_path, [f"manifests/overlays/{request.param}"], components)
    cluster = kube_api.connect(namespace)
    return cluster, [made for made in objects if made["kind"] not in UNKNOWN]


def test_the_api_takes_every_object_again_and_again(site):
    cluster, objects = site
    versions = []
    for _ in range(2):
        made = [cluster.apply(each, "kubectl") for each in objects]
        versions.append([each["metadata"]["resourceVersion"] for each in made])
    assert versions[0] == versions[1], "applying it again changes nothing"
    pods = [pod for each in objects if each["kind"] in ("Deployment", "CronJob") for pod in pod_specs(each)]
    for pod in pods:
        name = {"generateName": "pod-", "namespace": cluster.namespace}
        cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": name, "spec": pod})
