"""Follows an object of the cluster until its controller says that it has ended."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from stocktake.cluster.api import Cluster, ClusterError, Kind, Object

log = logging.getLogger(__name__)

POLL_S = 10.0
OUTAGE_S = 300.0  # for which the API may be away, as when it is upgraded


def follow(
    cluster: Cluster,
    kind: Kind,
    name: str,
    ends: Collection[str],
    describe: Callable[[Object], str],
    poll_s: float = POLL_S,
    outage_s: float = OUTAGE_S,
) -> tuple[Object, str]:
    """Log what `describe` says of the object whenever it changes; return it and the end that it has come to.

    Args:
        cluster: the API.
        kind: of the object.
        name: of the object.
        ends: types of its conditions that are the end of it, such as Complete and Failed.
        describe: a line about it.
        poll_s: between two looks.
        outage_s: for which the API may fail.

    Raises:
        ClusterError: the object was deleted, or the API is away for too long.
    """
    said = ""
    while True:
        found = _look(cluster, kind, name, poll_s, outage_s)
        line = describe(found)
        if line != said:
            log.info("%s %s: %s", kind.kind, name, line)
            said = line
        for end in ends:
            if condition(found, end):
                return found, end
        time.sleep(poll_s)


def condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of this type, where it is true."""
    conditions = found.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def _look(cluster: Cluster, kind: Kind, name: str, poll_s: float, outage_s: float) -> Object:
    deadline = time.monotonic() + outage_s
    while True:
        try:
            found = cluster.get(kind, name)
        except ClusterError as error:
            if time.monotonic() >= deadline:
                hint = "it goes on without us, and the same call follows it again"
                raise ClusterError(f"{error}; {hint}") from error
            time.sleep(poll_s)
            continue
        if found is None:
            raise ClusterError(f"{kind.kind} {cluster.namespace}/{name} was deleted meanwhile")
        return found
