"""GPUs: which nodes have them, what keeps pods off, and whether an update finds a spare one."""

from collections import Counter
from collections.abc import Iterable

from stocktake.cluster.api import Object
from stocktake.doctor.finding import Finding, fail, ok, warn
from stocktake.doctor.site import Site, gpus_of

TOLERATED = "nvidia.com/gpu"  # the taint that our pods tolerate
HOLDING = ("NoSchedule", "NoExecute")


def gpus(site: Site) -> Finding:
    """Whether nodes offer the GPUs that our predictors ask for."""
    offered = _allocatable(site.nodes)
    wanted = {name for service in site.inference_services for name in _asked(site, service)}
    lacking = sorted(name for name in wanted if not offered[name])
    if lacking:
        return fail(
            f"no node offers {', '.join(lacking)}, which predictors ask for: their pods stay Pending",
            "install the GPU operator or add a node, or apply manifests/overlays/local, which has none",
        )
    if not offered:
        return warn("no node offers GPUs", "train with gpus=0, and serve with manifests/overlays/local")
    nodes = sum(1 for node in site.nodes if gpus_of(node["status"].get("allocatable")))
    return ok(f"{_list(offered)} on {nodes} of {len(site.nodes)} nodes")


def taints(site: Site) -> Finding:
    """Whether something other than the usual taint keeps our pods off the nodes with GPUs."""
    holding = Counter[str]()
    reachable = 0
    for node in site.nodes:
        if not gpus_of(node["status"].get("allocatable")):
            continue
        strange = [
            f"{taint['key']}:{taint['effect']}"
            for taint in node["spec"].get("taints", ())
            if taint["effect"] in HOLDING and taint["key"] != TOLERATED
        ]
        holding.update(strange)
        reachable += not strange
    if not holding:
        return ok("no taints on nodes with GPUs but the usual one")
    found = f"taints {', '.join(holding)} on nodes with GPUs, which our pods do not tolerate"
    mend = "add the toleration in an overlay of your own, or `kubectl uncordon` the node"
    return warn(f"{found}; {reachable} nodes are open", mend) if reachable else fail(found, mend)


def rollout(site: Site) -> Finding:
    """Whether an update of a predictor finds a GPU for its new pod."""
    asking = [each for each in site.inference_services if _asked(site, each)]
    if not asking:
        return ok("no predictor asks for a GPU")
    free = _allocatable(site.nodes)
    free.subtract(_in_use(site.items("/api/v1/pods")))
    tight = [each for each in asking if any(free[name] < 1 for name in _asked(site, each))]
    blocked = [each for each in tight if _replicas(each) > 1 and _surges(each)]
    if blocked:
        return fail(
            f"no spare GPU for an update of {_names(blocked)}, whose new pods come before old ones go",
            "set deploymentStrategy.rollingUpdate maxSurge 0, maxUnavailable 1",
        )
    if single := [each for each in tight if _replicas(each) == 1]:
        return warn(
            f"no spare GPU for an update of {_names(single)}, which has one replica: it waits, or interrupts",
            "try candidates on predictor-cpu first, or add a replica and a GPU",
        )
    return ok(f"free for updates: {_list(+free) or 'none, and none needed'}")


def _allocatable(nodes: Iterable[Object]) -> Counter[str]:
    found = Counter[str]()
    for node in nodes:
        if not node["spec"].get("unschedulable"):
            found.update(gpus_of(node["status"].get("allocatable")))
    return found


def _in_use(pods: Iterable[Object]) -> Counter[str]:
    found = Counter[str]()
    for pod in pods:
        if pod["spec"].get("nodeName") and pod["status"].get("phase") not in ("Succeeded", "Failed"):
            found.update(_limits(pod["spec"]))
    return found


def _asked(site: Site, service: Object) -> Counter[str]:
    """The GPUs of one replica; the InferenceService's own resources stand in the place of its runtime's."""
    return next(filter(None, map(_limits, site.pod_specs(service))), Counter())


def _limits(spec: Object) -> Counter[str]:
    found = Counter[str]()
    for container in spec.get("containers", ()):
        found.update(gpus_of((container.get("resources") or {}).get("limits")))
    return found


def _replicas(service: Object) -> int:
    return max(1, int(service["spec"]["predictor"].get("minReplicas", 1)))


def _surges(service: Object) -> bool:
    """Whether Kubernetes starts a new pod before it ends an old one; it does unless it is told otherwise."""
    strategy = service["spec"]["predictor"].get("deploymentStrategy") or {}
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    return strategy.get("type") != "Recreate" and str(surge) not in ("0", "0%")


def _names(services: Iterable[Object]) -> str:
    return ", ".join(each["metadata"]["name"] for each in services)


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
