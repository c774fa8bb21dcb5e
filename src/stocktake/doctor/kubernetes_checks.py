"""Kubernetes itself: its version, the APIs that were added to it, our namespace, and what we may do there."""

import re

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, Kind, Object
from stocktake.cluster.rights import TO_DEPLOY, TO_SEARCH, TO_TRAIN, Right, lacking
from stocktake.doctor.finding import Finding, Status, fail, ok, warn
from stocktake.doctor.site import Site

OLDEST, NEWEST = 33, 36  # minor versions of Kubernetes that our manifests are validated against
ENFORCED = "pod-security.kubernetes.io/enforce"
COLLECTED = "katib.kubeflow.org/metrics-collector-injection"
UNTOUCHED = "control-plane"  # KServe's webhook leaves namespaces with this label alone
RUNNER = "pipeline-runner"  # the service account of pipeline steps

KSERVE_APIS = (INFERENCE_SERVICE, SERVING_RUNTIME)
MONITORING_APIS = (
    Kind("monitoring.coreos.com/v1", "PodMonitor"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule"),
)


def version(site: Site) -> Finding:
    """Whether Kubernetes is a version that our manifests were validated against."""
    found = str((site.cluster.read("/version") or {}).get("gitVersion", ""))
    match = re.match(r"v1\.(\d+)\.", found)
    where = f"{found} at {site.cluster.address}"
    if not match or int(match[1]) < OLDEST:
        return fail(where, f"upgrade to 1.{OLDEST} or later")
    if int(match[1]) > NEWEST:
        return warn(f"{where} is newer than our manifests were validated against (1.{OLDEST} to 1.{NEWEST})")
    return ok(where)


def missing(site: Site, kind: Kind) -> str:
    """Why there can be no objects of a kind; empty where there can."""
    served = site.cluster.read(f"/apis/{kind.api_version}")
    if served is None:
        group = site.cluster.read(f"/apis/{kind.group}")
        versions = ", ".join(each["version"] for each in (group or {}).get("versions", ()))
        return f"{kind.group} is served as {versions}, not {kind.version}" if versions else f"no {kind.group}"
    if kind.kind not in {each["kind"] for each in served["resources"]}:
        return f"{kind.api_version} without {kind.kind}"
    return ""


def apis(site: Site, kinds: tuple[Kind, ...], status: Status, without: str, mend: str) -> Finding:
    """Whether the API server knows these kinds in the versions that we write; `without` says what fails."""
    absent = [why for why in (missing(site, kind) for kind in kinds) if why]
    if absent:
        return Finding(status, f"{'; '.join(dict.fromkeys(absent))}: {without}", mend)
    return ok(", ".join(f"{kind.kind} {kind.version}" for kind in kinds))


def namespace(site: Site) -> Finding:
    """Whether our namespace is there, with labels that let KServe in and hold pods back."""
    found = _namespace(site, site.namespace)
    if found is None:
        return fail(f"there is no namespace {site.namespace}", f"kubectl create namespace {site.namespace}")
    labels = found["metadata"].get("labels") or {}
    change = f"kubectl label namespace {site.namespace}"
    if UNTOUCHED in labels:
        return fail(
            f"{site.namespace} has the label {UNTOUCHED}, so KServe fetches no models for its pods",
            f"{change} {UNTOUCHED}-",
        )
    if labels.get(ENFORCED) != "restricted":
        return warn(
            f"{site.namespace} enforces pod security {labels.get(ENFORCED, 'of no level')}",
            f"{change} --overwrite {ENFORCED}=restricted",
        )
    return ok(f"{site.namespace}, pod security restricted")


def collector_label(site: Site) -> Finding:
    """Whether Katib adds its collector of metrics to the pods of trials: here, and where pipelines run."""
    homes = _homes(site)
    bare = [home for home in homes if _labels(site, home).get(COLLECTED) != "enabled"]
    if not bare:
        return ok(f"{' and '.join(homes)}: labelled for Katib's metrics collector")
    return warn(
        f"{' and '.join(bare)} has no label {COLLECTED}: a search there would see no figure of its trials",
        f"kubectl label namespace {' '.join(bare)} --overwrite {COLLECTED}=enabled",
    )


def rights(site: Site, wanted: tuple[Right, ...]) -> Finding:
    """Whether we may do all of it."""
    if denied := lacking(site.cluster, wanted):
        return fail(f"you may not {denied}", f"have a Role bound to you in {site.namespace}")
    return ok(f"you may do all {len(wanted)} things that it takes")


def runner_rights(site: Site) -> Finding:
    """Whether pipeline steps may do what the last steps of our pipelines do."""
    paths = {home: f"/api/v1/namespaces/{home}/serviceaccounts/{RUNNER}" for home in _homes(site)}
    home = next((home for home, path in paths.items() if site.cluster.read(path)), None)
    if home is None:
        return warn(f"no service account {RUNNER}: no pipeline runs for {site.namespace}", "docs/install.md")
    if denied := lacking(site.cluster, (*TO_DEPLOY, *TO_SEARCH, *TO_TRAIN), f"{home}:{RUNNER}"):
        return fail(
            f"{RUNNER} of {home} may not {denied} here: those steps of pipelines fail",
            "apply the overlay, which binds the Role",
        )
    return ok(f"{RUNNER} of {home} may deploy, search and train here")


def _homes(site: Site) -> list[str]:
    """The namespaces that pipelines may run in, each once: ours, and that of Kubeflow Pipelines."""
    found = [site.namespace, *(each["metadata"]["namespace"] for each in site.pipeline_servers)]
    return list(dict.fromkeys(found))


def _labels(site: Site, namespace: str) -> dict[str, str]:
    found = _namespace(site, namespace) or {"metadata": {}}
    return dict(found["metadata"].get("labels") or {})


def _namespace(site: Site, name: str) -> Object | None:
    return site.cluster.read(f"/api/v1/namespaces/{name}")
