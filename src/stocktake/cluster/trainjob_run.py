"""Starts a TrainJob, or finds the one that was started, and follows it to its end."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from stocktake.cluster.api import TRAIN_JOB, Cluster, ClusterError, Object
from stocktake.cluster.following import OUTAGE_S, POLL_S, condition, follow
from stocktake.cluster.rights import TO_TRAIN, require
from stocktake.cluster.trainjob import NODE

MANAGER = "stocktake-training"
ENDS = ("Complete", "Failed")


def run_job(
    cluster: Cluster, documents: Sequence[Object], poll_s: float = POLL_S, outage_s: float = OUTAGE_S
) -> Object:
    """Start a TrainJob, or take up the one of its name that runs, and return it when it is complete.

    One that has ended before is started anew: whoever calls has found no result of it.

    Args:
        cluster: the API.
        documents: of `manifests`.
        poll_s: between two looks.
        outage_s: for which the API may fail.

    Raises:
        ClusterError: Trainer is not installed, we may not, it runs over other machines, or it failed.
    """
    *_, wanted = documents
    name = wanted["metadata"]["name"]
    if not _is_running(cluster, wanted, poll_s):
        for document in documents:
            cluster.apply(document, MANAGER, force=True)  # the runtime is ours, whoever wrote it before
    found, end = follow(cluster, TRAIN_JOB, name, ENDS, describe, poll_s, outage_s)
    if end == "Failed":
        failed = condition(found, "Failed") or {}
        logs = f"kubectl -n {cluster.namespace} logs -l jobset.sigs.k8s.io/jobset-name={name} --prefix"
        raise ClusterError(
            f"TrainJob {cluster.namespace}/{name} failed: {failed.get('message') or failed.get('reason')};"
            f" look at `{logs}`"
        )
    return found


def describe(found: Mapping[str, Any]) -> str:
    """How far its pods are, in a line."""
    status = found.get("status", {})
    jobs = {job["name"]: job for job in status.get("jobsStatus") or ()}
    counts = jobs.get(NODE, {})
    parts = [f"{counts[key]} {key}" for key in ("active", "ready", "succeeded", "failed") if counts.get(key)]
    progress = (status.get("trainerStatus") or {}).get("progressPercentage")
    parts += [f"{progress} % done"] if progress is not None else []
    ends = [end for end in (*ENDS, "Suspended") if condition(found, end)]
    return ", ".join([*ends, *parts]) or "waiting for its nodes"


def _is_running(cluster: Cluster, wanted: Mapping[str, Any], poll_s: float) -> bool:
    """Whether the job is followed as it is. Deletes one that has ended; refuses one over other machines."""
    name = wanted["metadata"]["name"]
    found = cluster.get(TRAIN_JOB, name)
    if found is None:
        require(cluster, TO_TRAIN)
        return False
    if any(condition(found, end) for end in ENDS):
        cluster.delete(TRAIN_JOB, name)
        while cluster.get(TRAIN_JOB, name) is not None:
            time.sleep(poll_s)
        return False
    known = found["spec"]["trainer"]
    for field_name in ("numNodes", "image", "resourcesPerNode"):
        if known.get(field_name) != wanted["spec"]["trainer"][field_name]:
            raise ClusterError(
                f"TrainJob {cluster.namespace}/{name} trains this already with another {field_name}"
                f" ({known.get(field_name)}); wait for it, or `kubectl -n {cluster.namespace} delete trainjob"
                f" {name}`"
            )
    return True
