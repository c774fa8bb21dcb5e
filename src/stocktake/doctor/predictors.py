"""Our predictors: their runtimes, models, names and images."""

from collections.abc import Iterator

from stocktake.cluster.images import check_image
from stocktake.cluster.preflight import is_stopped, start_command
from stocktake.cluster.rehearsal import rehearsal_name
from stocktake.doctor.finding import Finding, fail, ok, warn
from stocktake.doctor.site import Site, conditions
from stocktake.errors import SettingsError

LONGEST_NAME = 63  # of a Service, and of each part of a host name
APPLY = "kubectl apply --server-side -k manifests/overlays/gpu"


def runtimes(site: Site) -> Finding:
    """Whether the ServingRuntimes that our InferenceServices name are there."""
    named = {
        str(each["spec"]["predictor"]["model"].get("runtime", ""))
        for each in site.inference_services
        if each["spec"]["predictor"].get("model")
    }
    if lacking := sorted(named - set(site.runtimes)):
        return fail(f"no ServingRuntime {', '.join(lacking)}", APPLY)
    ours = sorted(name for name in site.runtimes if name.startswith("stocktake-"))
    return ok(", ".join(ours)) if ours else fail(f"no ServingRuntime of ours in {site.namespace}", APPLY)


def predictors(site: Site) -> Finding:
    """Whether the InferenceServices are there, have a model that they can fetch, and answer."""
    if not site.inference_services:
        return fail(f"no InferenceService in {site.namespace}: nothing to deploy to", APPLY)
    empty, broken, bare, stopped = [], [], [], []
    for service in site.inference_services:
        name = service["metadata"]["name"]
        uri = (service["spec"]["predictor"].get("model") or {}).get("storageUri")
        ready = conditions(service).get("Ready", {})
        if is_stopped(service):
            stopped.append(name)
        elif not uri:
            empty.append(name)
        elif not uri.endswith("/"):
            bare.append(f"{name} ({uri})")
        elif ready.get("status") != "True":
            broken.append(f"{name} ({ready.get('message') or ready.get('reason') or 'no state yet'})")
    if bare:
        return fail(
            f"no / at the end of the storageUri of {', '.join(bare)}: KServe fetches all that begins like it",
            f"python -m pipelines deploy {bare[0].split()[0]}",
        )
    if broken:
        return fail(f"not ready: {', '.join(broken)}", f"kubectl -n {site.namespace} get pods")
    if stopped:
        return warn(f"stopped: {', '.join(stopped)}", start_command(site.namespace, stopped[0]))
    if empty:
        return warn(f"no model yet: {', '.join(empty)}", f"python -m pipelines deploy {empty[0]}")
    return ok(f"ready: {', '.join(each['metadata']['name'] for each in site.inference_services)}")


def rehearsals(site: Site) -> Finding:
    """Whether a deploy that was killed has left the InferenceService in which it rehearsed a candidate."""
    if left := [each["metadata"]["name"] for each in site.rehearsals]:
        service = left[0].removesuffix(rehearsal_name(""))
        return warn(
            f"{', '.join(left)} rehearses a candidate: of a deploy that runs, or that was killed",
            f"`python -m pipelines deploy {service}` deletes it",
        )
    return ok("no candidate is left of a deploy")


def names(site: Site) -> Finding:
    """Whether the names that KServe makes of ours fit into a host name."""
    made = [f"{each['metadata']['name']}-predictor-{site.namespace}" for each in site.inference_services]
    if long := [f"{name} ({len(name)})" for name in made if len(name) > LONGEST_NAME]:
        return fail(
            f"host names over {LONGEST_NAME} characters: {', '.join(long)}", "use a shorter namespace"
        )
    return ok(f"host names of {max(map(len, made), default=0)} characters at most")


def images(site: Site) -> Finding:
    """Whether every image that runs for us is the same tomorrow."""
    found = sorted(set(_images(site)))
    moving = [image for image in found if not _is_fixed(image)]
    if moving:
        return fail(
            f"images that may change under their name: {', '.join(moving)}", "give a version or a digest"
        )
    digests = sum("@sha256:" in image for image in found)
    return ok(f"{len(found)} images, {digests} by digest, the others by version")


def _images(site: Site) -> Iterator[str]:
    specs = [each["spec"] for name, each in site.runtimes.items() if name.startswith("stocktake-")]
    for service in site.inference_services:
        specs += site.pod_specs(service)
    for each in site.items(site.ours("/apis/apps/v1", "deployments")):
        specs.append(each["spec"]["template"]["spec"])
    for spec in specs:
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            if "image" in container:
                yield container["image"]


def _is_fixed(image: str) -> bool:
    try:
        check_image(image)
    except SettingsError:
        return False
    return True
