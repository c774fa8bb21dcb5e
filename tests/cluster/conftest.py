"""A real Kubernetes API with our custom resources, and a namespace of each test's own."""

import os
import secrets
from collections.abc import Iterator

import pytest

from stocktake.cluster.api import Cluster
from tests.kube_api import PROGRAMS, KubeApi, crds, find


@pytest.fixture(scope="session")
def kube_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """The server, with the definitions of STOCKTAKE_CRDS."""
    missing = [program for program in PROGRAMS if not find(program)]
    definitions = crds()
    if missing or not definitions:
        reason = (
            f"there is no {' and no '.join(missing)}; `make services` builds them"
            if missing
            else "STOCKTAKE_CRDS names no folder of custom resource definitions"
        )
        if missing and os.environ.get("STOCKTAKE_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    api = KubeApi(tmp_path_factory.mktemp("kubernetes"))
    api.start()
    try:
        api.define(definitions)
        yield api
    finally:
        api.stop()


@pytest.fixture
def cluster(kube_api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A new namespace, which KUBECONFIG names too, as somebody who may do everything."""
    name = f"test-{secrets.token_hex(4)}"
    cluster = kube_api.connect(name)
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    monkeypatch.setenv("KUBECONFIG", str(kube_api.kubeconfig(namespace=name)))
    return cluster
