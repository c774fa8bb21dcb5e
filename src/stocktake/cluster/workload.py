"""The pods that run a model of an InferenceService: whether they are ready, why not, where they answer."""

from dataclasses import dataclass

from stocktake.cluster.api import Cluster, Kind, Object
from stocktake.cluster.rollout import FULL, Rollout, Served

DEPLOYMENT = Kind("apps/v1", "Deployment")
POD = Kind("v1", "Pod")
REVISION = Kind("serving.knative.dev/v1", "Revision")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute")

SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"  # KServe's annotation: the model of a pod
MODE = "serving.kserve.io/deploymentMode"
CONTAINER = "kserve-container"
STARTING = ("PodInitializing", "ContainerCreating")  # no trouble
TAG = "latest"  # of the newest revision
REST_PORT = 8080


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods by their labels. `problem` says why they do not all answer yet; empty where they do."""

    selector: str
    problem: str


def is_knative(live: Object) -> bool:
    """Whether Knative runs an InferenceService, and not a Deployment."""
    return (live["metadata"].get("annotations") or {}).get(MODE) == "Knative"


def deployment_name(service: str, slot: str) -> str:
    """The name that KServe gives to a Deployment, and to its Service."""
    return f"{service}-{slot}-predictor" if slot else f"{service}-predictor"


def find_workload(cluster: Cluster, live: Object, rollout: Rollout, model: Served) -> Workload:
    """The pods of a model that is served, or tried.

    Args:
        cluster: where they run.
        live: the InferenceService.
        rollout: where it stands.
        model: its `serving` or its `candidate`.
    """
    if is_knative(live):
        return _revision(cluster, live, model)
    is_canary = rollout.way == "canary" and model == rollout.candidate
    slot = rollout.candidate_slot if is_canary else rollout.slot
    return deployment_workload(cluster, deployment_name(live["metadata"]["name"], slot), model)


def deployment_workload(cluster: Cluster, name: str, model: Served) -> Workload:
    """The pods of a Deployment: no problem where all that it wants have `model` and are available."""
    selector = f"app=isvc.{name}"
    found = cluster.get(DEPLOYMENT, name)
    if found is None:
        return Workload(selector, f"KServe has made no Deployment {name} yet")
    template = found["spec"]["template"]["metadata"].get("annotations") or {}
    status, wanted = found.get("status") or {}, found["spec"].get("replicas", 1)
    current = template.get(SOURCE) == model.uri and (
        status.get("observedGeneration", 0) >= found["metadata"]["generation"]
    )
    there = status.get("availableReplicas", 0) if current else 0
    fresh = status.get("updatedReplicas", 0) == status.get("replicas", 0) == there
    if current and fresh and there >= max(wanted, 1):
        return Workload(selector, "")
    trouble = "; ".join(_troubles(cluster, selector))
    return Workload(selector, f"{there} of {wanted} pods of {name} are ready" + (trouble and f": {trouble}"))


def has_share(cluster: Cluster, live: Object, rollout: Rollout) -> bool:
    """Whether requests are divided as `rollout` says."""
    service = live["metadata"]["name"]
    if rollout.way == "revisions":
        component = _component(live)
        shares = [each for each in component.get("traffic") or [] if each.get("latestRevision")]
        wanted = FULL if rollout.share is None else rollout.share
        rolled_out = wanted < FULL or (
            component.get("latestRolledoutRevision") == component.get("latestReadyRevision")
        )
        return rolled_out and bool(shares) and all(each.get("percent") == wanted for each in shares)
    canary = deployment_name(service, rollout.candidate_slot) if rollout.candidate else None
    for name in (service, deployment_name(service, "")):
        route = cluster.get(HTTP_ROUTE, name) or {}
        rules = (route.get("spec") or {}).get("rules") or [{}]
        weights = [
            {each["name"]: each.get("weight", 1) for each in rule.get("backendRefs") or []} for rule in rules
        ]
        if not all(each.get(canary, 0) == rollout.share for each in weights):
            return False
    return True


def addresses(cluster: Cluster, selector: str) -> list[str]:
    """Base URLs of REST of the pods that are ready, as pods and whoever can reach them see them."""
    found = []
    for pod in cluster.list(POD, selector):
        status = pod.get("status") or {}
        ready = any(
            each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or []
        )
        if ready and status.get("podIP") and "deletionTimestamp" not in pod["metadata"]:
            host = f"[{status['podIP']}]" if ":" in status["podIP"] else status["podIP"]
            found.append(f"http://{host}:{_port(pod)}")
    return sorted(found)


def tag_address(live: Object) -> list[str]:
    """Where Knative wakes the newest revision, which may have no pod; none without tag routing."""
    if not any(each.get("tag") == TAG for each in _component(live).get("traffic") or []):
        return []
    metadata = live["metadata"]
    return [f"http://{TAG}-{metadata['name']}-predictor.{metadata['namespace']}.svc.cluster.local"]


def restarts(cluster: Cluster, selector: str) -> int:
    """How often containers of the pods have ended and were started again."""
    return sum(
        state.get("restartCount", 0)
        for pod in cluster.list(POD, selector)
        for state in (pod.get("status") or {}).get("containerStatuses") or []
    )


def _revision(cluster: Cluster, live: Object, model: Served) -> Workload:
    component = _component(live)
    created, ready = component.get("latestCreatedRevision"), component.get("latestReadyRevision")
    selector = f"serving.knative.dev/revision={created}"
    if not created:
        return Workload(selector, "Knative has made no revision yet")
    if created != ready:
        trouble = "; ".join(_troubles(cluster, selector))
        return Workload(selector, f"revision {created} is not ready" + (trouble and f": {trouble}"))
    revision = cluster.get(REVISION, created) or {"metadata": {}}
    if (revision["metadata"].get("annotations") or {}).get(SOURCE) != model.uri:
        return Workload(selector, f"Knative has made no revision of {model.label} yet")
    return Workload(selector, "")


def _component(live: Object) -> Object:
    return ((live.get("status") or {}).get("components") or {}).get("predictor") or {}


def _troubles(cluster: Cluster, selector: str) -> list[str]:
    """What Kubernetes says of pods that do not start, each once."""
    said: set[str] = set()
    for pod in cluster.list(POD, selector):
        status = pod.get("status") or {}
        unplaced = [
            each.get("message", "not scheduled")
            for each in status.get("conditions") or []
            if each["type"] == "PodScheduled" and each["status"] == "False"
        ]
        states = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
        waiting = [each["state"]["waiting"] for each in states if "waiting" in (each.get("state") or {})]
        held = [f"{each.get('reason', 'waits')} {each.get('message', '')}".strip() for each in waiting]
        said.update(unplaced + [each for each in held if each not in STARTING])
    return sorted(said)


def _port(pod: Object) -> int:
    for container in pod["spec"]["containers"]:
        if container["name"] == CONTAINER and container.get("ports"):
            return int(container["ports"][0]["containerPort"])
    return REST_PORT
