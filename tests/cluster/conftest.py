"""A real Kubernetes API with our custom resources, and a namespace of each test's own."""

import secrets

import pytest

from stocktake.cluster.api import Cluster
from tests.kube_api import KubeApi, crds


@pytest.fixture(scope="session")
def kube_api(request: pytest.FixtureRequest) -> KubeApi:
    """The server, with the definitions of STOCKTAKE_CRDS."""
    if not (definitions := crds()):
        pytest.skip("STOCKTAKE_CRDS names no folder of custom resource definitions")
    api: KubeApi = request.getfixturevalue("bare_kube_api")
    api.define(definitions)
    return api


@pytest.fixture
def cluster(kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A new namespace, which KUBECONFIG names too, as somebody who may do everything."""
    name = f"test-{secrets.token_hex(4)}"
    cluster = kube_api.connect(name)
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    monkeypatch.setenv("KUBECONFIG", str(kube_api.kubeconfig(namespace=name)))
    return cluster
