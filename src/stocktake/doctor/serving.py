"""KServe: its version and mode, the way in, and what scales it."""

import re

from stocktake.cluster.api import Kind, Object
from stocktake.doctor.finding import Finding, fail, ok, warn
from stocktake.doctor.kubernetes_checks import missing
from stocktake.doctor.predictors import APPLY
from stocktake.doctor.site import DEPLOYMENT_MODE, KSERVE, Site, conditions

CANARY_SINCE = (0, 21)  # weights of spec.canary on the HTTPRoute
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject")
AUTOSCALER = "serving.kserve.io/autoscalerClass"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
SETTINGS = "kubectl -n {} edit configmap inferenceservice-config"


def version(site: Site) -> Finding:
    """Whether KServe's controller runs, and splits traffic between a model and its canary."""
    schema = site.cluster.read(f"/openapi/v3{KSERVE}/v1beta1")
    controller = site.kserve_controller
    if schema is None:
        return fail("KServe is not installed", "docs/install.md")
    if controller is None:
        return fail("KServe's definitions are there, but no controller of it", "docs/install.md")
    image = controller["spec"]["template"]["spec"]["containers"][0]["image"]
    where = f"{image} in {controller['metadata']['namespace']}"
    if not (controller.get("status") or {}).get("availableReplicas"):
        return fail(f"{where} does not run", f"kubectl -n {controller['metadata']['namespace']} get pods")
    tag = re.search(r":v?(\d+)\.(\d+)", image)
    old = tag and (int(tag[1]), int(tag[2])) < CANARY_SINCE
    if old or not _has_canary(schema):
        return fail(f"{where} cannot split traffic for a canary", "upgrade KServe to 0.21 or later")
    return ok(where if tag else f"{where}; its version cannot be told, its definitions know spec.canary")


def mode(site: Site) -> Finding:
    """Whether the way in which KServe deploys predictors is one that works here."""
    if not site.kserve_config:
        return fail("KServe has no ConfigMap inferenceservice-config", "docs/install.md")
    modes = {each["metadata"]["name"]: site.mode(each) for each in site.inference_services}
    wanted = set(modes.values()) or {site.default_mode}
    gateway = bool(site.kserve_config.get("ingress", {}).get("enableGatewayApi"))
    edit = SETTINGS.format(_kserve_namespace(site))
    if "Knative" in wanted and not _has_knative(site):
        return fail(
            f"{_those(modes, 'Knative')} to be deployed by Knative, which is not installed",
            f"{edit}: set defaultDeploymentMode Standard, or install Knative",
        )
    unsaid = [
        each["metadata"]["name"]
        for each in site.inference_services
        if DEPLOYMENT_MODE not in each["metadata"].get("annotations", {})
    ]
    if unsaid:
        return warn(f"{', '.join(unsaid)} without the annotation {DEPLOYMENT_MODE}: webhooks guess", APPLY)
    if "Standard" in wanted and not gateway:
        return warn(
            f"{_those(modes, 'Standard')} in mode Standard without the Gateway API: no canary, "
            "models are exchanged in place",
            f"{edit}: set enableGatewayApi true",
        )
    return ok(f"{', '.join(sorted(wanted))}{', Gateway API on' if gateway else ''}")


def gateway(site: Site) -> Finding:
    """Whether the Gateway that KServe hangs its routes on is there and works."""
    ingress = site.kserve_config.get("ingress", {})
    if not ingress.get("enableGatewayApi"):
        return warn("KServe does not use the Gateway API", "see the line of KServe's mode")
    namespace, _, name = str(ingress.get("kserveIngressGateway", "")).rpartition("/")
    namespace = namespace or _kserve_namespace(site)
    if site.cluster.read(GATEWAYS) is None:
        return fail("the Gateway API is not installed", "docs/install.md")
    found = site.cluster.read(f"{GATEWAYS}/namespaces/{namespace}/gateways/{name}")
    if found is None:
        return fail(
            f"there is no Gateway {namespace}/{name}, which KServe's settings name", "docs/install.md"
        )
    state = conditions(found).get("Programmed", {})
    if state.get("status") != "True":
        return fail(
            f"Gateway {namespace}/{name} is not programmed: {state.get('message', 'no controller has it')}",
            f"kubectl -n {namespace} describe gateway {name}",
        )
    addresses = [each["value"] for each in found["status"].get("addresses", ())]
    return ok(f"{namespace}/{name} at {', '.join(addresses) or 'no address yet'}")


def keda(site: Site) -> Finding:
    """Whether KEDA is there for the predictors that scale by it."""
    scaled = [each["metadata"]["name"] for each in site.inference_services if _is_scaled(each)]
    why = missing(site, SCALED_OBJECT)
    if not why:
        return ok(f"installed{', scales ' if scaled else ''}{', '.join(scaled)}")
    if scaled:
        return fail(f"{why}: {', '.join(scaled)} never scales", "docs/install.md")
    return warn(f"{why}: the overlay gpu scales by KEDA", "docs/install.md")


def _is_scaled(service: Object) -> bool:
    """By KEDA: as KServe sets it up, or by a ScaledObject of one's own where there may be more replicas."""
    by = service["metadata"].get("annotations", {}).get(AUTOSCALER)
    return by == "keda" or (by == "external" and bool(service["spec"]["predictor"].get("maxReplicas")))


def _has_canary(schema: Object) -> bool:
    kinds = schema["components"]["schemas"]
    service = next(each for name, each in kinds.items() if name.endswith(".InferenceService"))
    return "canary" in service["properties"]["spec"]["properties"]


def _kserve_namespace(site: Site) -> str:
    controller = site.kserve_controller
    return str(controller["metadata"]["namespace"]) if controller else "kserve"


def _those(modes: dict[str, str], wanted: str) -> str:
    found = [name for name, mode in modes.items() if mode == wanted]
    return f"{', '.join(found)} are" if found else "by default, predictors are"


def _has_knative(site: Site) -> bool:
    """Whether there are Knative's services, which KServe makes in that mode."""
    known = site.cluster.read("/apis/serving.knative.dev/v1") or {}
    return any(each["name"] == "services" for each in known.get("resources", ()))
