from collections import Counter

import pytest
from _pytest.nodeid import coerce_node_id

from stocktake.devices import let_threads_sleep

let_threads_sleep()  # before any test imports torch: on a busy machine spinning threads cost five times


def pytest_collection_modifyitems(items):
    """Number tests of one name, as Schemathesis' are: pytest-xdist would run one of them only."""
    seen = Counter()
    for item in items:
        name = item.nodeid
        seen[name] += 1
        if seen[name] > 1:
            item._id = coerce_node_id(f"{name}[{seen[name]}]")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A SQLite file with MLflow's tables; making them takes seconds, copying them nothing."""
    from stocktake.mlflow_server import configure

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        configure(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def bare_kube_api(tmp_path_factory):
    """A real Kubernetes API, with its own kinds; `kube_api` of tests/cluster is the same one with ours."""
    from tests.kube_api import KubeApi

    api = KubeApi(tmp_path_factory.mktemp("kubernetes"))
    try:
        api.start()
        yield api
    finally:
        api.stop()
