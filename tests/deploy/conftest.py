"""A real Kubernetes API, started once."""

import os
from collections.abc import Iterator

import pytest

from tests.kube_api import PROGRAMS, KubeApi, find


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    """The server, with Kubernetes' own kinds only."""
    missing = [program for program in PROGRAMS if find(program) is None]
    if missing:
        reason = f"there is no {' and no '.join(missing)}; `make services` builds them"
        if os.environ.get("STOCKTAKE_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    server = KubeApi(tmp_path_factory.mktemp("kubernetes"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
