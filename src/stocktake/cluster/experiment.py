"""Starts an Experiment of Katib, or finds the one that was started, and follows it to its end."""

from collections.abc import Mapping
from typing import Any

from stocktake.cluster.api import EXPERIMENT, TRIAL, Cluster, ClusterError, Kind, Object
from stocktake.cluster.following import OUTAGE_S, POLL_S, condition, follow
from stocktake.cluster.rights import TO_SEARCH, TO_SEE_LABELS, may, require

NAMESPACE = Kind("v1", "Namespace")
COLLECTOR_LABEL = "katib.kubeflow.org/metrics-collector-injection"
EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"  # of its trials
SEARCH = "stocktake.dev/search"  # annotation: digest of what is searched, and with what
PARENT_RUN = "stocktake.dev/mlflow-run"  # annotation: the run of MLflow that those of the trials are below
MANAGER = "stocktake-search"
COUNTS = {  # fields of its status, in words
    "trialsSucceeded": "complete",
    "trialsEarlyStopped": "stopped early",
    "trialsFailed": "failed",
    "trialsKilled": "killed",
    "trialMetricsUnavailable": "without figures",
    "trialsRunning": "running",
    "trialsPending": "pending",
}


def find_experiment(cluster: Cluster, wanted: Mapping[str, Any]) -> Object | None:
    """The experiment that was started as `wanted`, or None where it can be started.

    Raises:
        ClusterError: Katib is not installed, we may not do what is needed, its collector leaves out this
            namespace, or the name belongs to another search.
    """
    name = wanted["metadata"]["name"]
    found = cluster.get(EXPERIMENT, name)
    if found is None:
        _check_namespace(cluster)
        return None
    known = (found["metadata"].get("annotations") or {}).get(SEARCH)
    if known != wanted["metadata"]["annotations"][SEARCH]:
        raise ClusterError(
            f"Experiment {cluster.namespace}/{name} is of another search: its space, photos, code, image or"
            f" pods are not these; take another name, or `kubectl -n {cluster.namespace} delete experiment"
            f" {name}`"
        )
    return found


def run_experiment(
    cluster: Cluster, manifest: Mapping[str, Any], poll_s: float = POLL_S, outage_s: float = OUTAGE_S
) -> Object:
    """Start an experiment, or take up the one that runs, and return it when it has ended.

    One that has ended stays as it is. Of one that runs the numbers of trials become those of `manifest`.

    Raises:
        ClusterError: as `find_experiment`; it failed without a trial that succeeded; it was deleted.
    """
    found = find_experiment(cluster, manifest)
    name = manifest["metadata"]["name"]
    if found is None or not _has_ended(found):
        cluster.apply(manifest, MANAGER)
    found, end = follow(cluster, EXPERIMENT, name, ("Succeeded", "Failed"), describe, poll_s, outage_s)
    if end == "Failed" and not found["status"].get("trialsSucceeded"):
        raise ClusterError(
            f"Experiment {cluster.namespace}/{name} failed: {_message(found)}; look at `kubectl -n"
            f" {cluster.namespace} logs -l {EXPERIMENT_LABEL}={name} --all-containers --prefix`, and"
            " delete it before you search anew"
        )
    return found


def trials_of(cluster: Cluster, name: str) -> list[Object]:
    """The trials of an experiment, in the order in which they were begun."""
    found = cluster.list(TRIAL, f"{EXPERIMENT_LABEL}={name}")
    return sorted(found, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))


def describe(found: Mapping[str, Any]) -> str:
    """How far it is and what it has found, in a line."""
    status, spec = found.get("status", {}), found["spec"]
    counts = [f"{status[field]} {word}" for field, word in COUNTS.items() if status.get(field)]
    line = f"{status.get('trials', 0)} of {spec['maxTrialCount']} trials begun"
    line += f" ({', '.join(counts)})" if counts else ""
    best = status.get("currentOptimalTrial") or {}
    figures = (best.get("observation") or {}).get("metrics") or ()
    objective = spec["objective"]
    wanted = "max" if objective["type"] == "maximize" else "min"
    for figure in figures:
        if figure["name"] == objective["objectiveMetricName"]:
            chosen = ", ".join(f"{each['name']} {each['value']}" for each in best["parameterAssignments"])
            line += f"; best {figure['name']} {figure[wanted]} with {chosen}"
    return line


def _check_namespace(cluster: Cluster) -> None:
    require(cluster, TO_SEARCH)
    if not may(cluster, TO_SEE_LABELS):
        return  # its label can't be looked at; a namespace without it shows as trials without figures
    labels = (cluster.get(NAMESPACE, cluster.namespace) or {}).get("metadata", {}).get("labels") or {}
    if labels.get(COLLECTOR_LABEL) != "enabled":
        raise ClusterError(
            f"namespace {cluster.namespace} lacks the label {COLLECTOR_LABEL}=enabled, without which Katib"
            f" reads no figures; `kubectl label namespace {cluster.namespace} {COLLECTOR_LABEL}=enabled`"
        )


def _has_ended(found: Mapping[str, Any]) -> bool:
    return any(condition(found, end) for end in ("Succeeded", "Failed"))


def _message(found: Mapping[str, Any]) -> str:
    failed = condition(found, "Failed") or {}
    return str(failed.get("message") or failed.get("reason") or "it does not say why")
