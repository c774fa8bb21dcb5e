"""What controllers do, done by a test: between two looks of whoever follows an object."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stocktake.cluster.api import Cluster, Kind


def between_looks(patch: pytest.MonkeyPatch, *actions: Callable[[], Any]) -> None:
    """Do the next of the actions wherever `following` would wait."""
    waiting = list(actions)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: waiting.pop(0)())
    patch.setattr("stocktake.cluster.following.time", clock)


def set_status(cluster: Cluster, kind: Kind, name: str, status: dict[str, Any]) -> None:
    """Patch the status, which nobody but a controller does."""
    resource = cluster._client.resources.get(api_version=kind.api_version, kind=kind.kind)
    resource.status.patch(
        name=name,
        namespace=cluster.namespace,
        body={"status": status},
        content_type="application/merge-patch+json",
    )
