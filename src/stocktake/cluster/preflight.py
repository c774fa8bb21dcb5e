"""What must be true before a deploy changes anything: of the version, its files, the InferenceService."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, Cluster, ClusterError, Object
from stocktake.cluster.images import moves
from stocktake.cluster.rollout import Served, Way
from stocktake.cluster.workload import CONTAINER, HTTP_ROUTE, MODE, deployment_name, is_knative
from stocktake.errors import ModelError, StoreError
from stocktake.model_card import ModelCard
from stocktake.model_versions import ModelVersion
from stocktake.registry import fetch_model

MODES = ("Standard", "Knative")
STOP = "serving.kserve.io/stop"  # KServe's annotation
LONGEST_LABEL = 63  # characters of a label's value in Kubernetes
DIGEST = re.compile(r"[0-9a-f]{64}")  # what `register` calls the folder of a model dir


def check_version(version: ModelVersion, model_dir: Path) -> Served:
    """Fetch a version's model dir and check it.

    Args:
        version: from the registry.
        model_dir: an empty folder for its files.

    Returns:
        What a cluster is told of it.

    Raises:
        ModelError: its files are not in a bucket, not under their digest, or not those that were registered.
        StoreError: the store can't be reached, or lacks them.
    """
    if not version.model_uri.startswith("s3://"):
        raise ModelError(
            f"{version.uri}: its files are in {version.model_uri}, which no cluster can read; register it "
            "with STOCKTAKE_STORE=s3://bucket/prefix"
        )
    if not DIGEST.fullmatch(version.digest) or not version.model_uri.endswith(f"/{version.digest}"):
        raise ModelError(
            f"{version.uri}: its files are in {version.model_uri}, which is not called after their digest "
            f"{version.digest[:12]}…; register the model dir again"
        )
    candidate = Served(f"{version.model_uri}/", version.uri)
    check_files(candidate, model_dir)
    return candidate


def check_files(served: Served, model_dir: Path) -> None:
    """Fetch the model dir that a cluster serves, or served, and check it.

    Args:
        served: as the cluster names it.
        model_dir: an empty folder for its files.

    Raises:
        ModelError: its files are not those that its folder is called after, or one is damaged.
        StoreError: the store can't be reached, or lacks them.
    """
    source = served.uri.rstrip("/")
    digest = fetch_model(source, model_dir)
    if DIGEST.fullmatch(served.digest) and digest != served.digest:  # by hand a folder gets any name
        raise ModelError(f"{source}: its files are not those of {served.label}; register the model again")


def find_service(cluster: Cluster, name: str, may_be_stopped: bool = False) -> Object:
    """The InferenceService of a model, fit to be deployed to; `may_be_stopped` where no pod has to start.

    Raises:
        ClusterError: KServe is not installed, there is no such InferenceService, it is stopped, or a name or
            its mode do not let a deploy be done; says what to do.
    """
    live = cluster.get(INFERENCE_SERVICE, name)
    if live is None:
        raise ClusterError(
            f"there is no InferenceService {name} in namespace {cluster.namespace}; apply an overlay first: "
            "kubectl apply --server-side -k manifests/overlays/local, or give another one with --namespace"
        )
    longest = f"isvc.{deployment_name(name, 'm01234567')}"
    if len(longest) > LONGEST_LABEL:
        raise ClusterError(
            f"InferenceService {name}: KServe labels its pods {longest}, over {LONGEST_LABEL} characters; "
            f"use a name that is {len(longest) - LONGEST_LABEL} shorter"
        )
    if is_stopped(live) and not may_be_stopped:
        raise ClusterError(
            f"InferenceService {name} is stopped (annotation {STOP}), so no pod of it starts; start it "
            f"first: {start_command(cluster.namespace, name)}"
        )
    mode = (live["metadata"].get("annotations") or {}).get(MODE)
    if mode not in MODES:
        raise ClusterError(
            f"InferenceService {name}: annotation {MODE} is {mode!r}; set it to {' or '.join(MODES)}, as our "
            "overlays do, since KServe's own default differs between installations"
        )
    if not (live["spec"].get("predictor") or {}).get("model"):
        raise ClusterError(f"InferenceService {name}: has no spec.predictor.model; apply an overlay again")
    return live


def is_stopped(service: Object) -> bool:
    """Whether somebody has stopped an InferenceService: KServe then takes all pods of it away."""
    return (service["metadata"].get("annotations") or {}).get(STOP, "").lower() == "true"


def start_command(namespace: str, name: str) -> str:
    """What starts an InferenceService again that was stopped."""
    return f"kubectl -n {namespace} annotate inferenceservice {name} {STOP}-"


def check_runtime(cluster: Cluster, live: Object, card: ModelCard) -> None:
    """Look at the ServingRuntime of an InferenceService.

    Raises:
        ClusterError: it is not there, or an image has no tag that stays.
        ModelError: it asks for a precision that the card does not allow.
    """
    model = live["spec"]["predictor"]["model"]
    name = model.get("runtime")
    runtime = cluster.get(SERVING_RUNTIME, name) if name else None
    if runtime is None:
        raise ClusterError(
            f"InferenceService {live['metadata']['name']}: its runtime {name!r} is no ServingRuntime of "
            f"namespace {cluster.namespace}; apply the overlay again"
        )
    for container in runtime["spec"]["containers"]:
        if moves(container.get("image", "")):
            raise ClusterError(
                f"ServingRuntime {name}: image {container.get('image')!r} needs a version tag or a digest; "
                "under a tag that moves, replicas of one model run different code"
            )
    own: Object = next((each for each in runtime["spec"]["containers"] if each["name"] == CONTAINER), {})
    environment = {
        each["name"]: each.get("value") for each in [*own.get("env", []), *(model.get("env") or [])]
    }
    precision = environment.get("STOCKTAKE_PRECISION")
    if precision and precision not in card.precisions:
        raise ModelError(
            f"ServingRuntime {name} asks for precision {precision}, but the model's card allows "
            f"{', '.join(card.precisions)} only; its precision_gate says why"
        )


def check_previous(cluster: Cluster, live: Object, previous: Served) -> None:
    """See that the model before can be fetched, and run by the runtime of today.

    Raises:
        ClusterError: it cannot; says what to do in its place.
    """
    try:
        with TemporaryDirectory(prefix="stocktake-rollback-") as folder:
            check_files(previous, Path(folder))
            check_runtime(cluster, live, ModelCard.read(Path(folder)))
    except (ModelError, StoreError) as error:
        name = live["metadata"]["name"]
        raise ClusterError(
            f"{previous.label} can't come back, and nothing was changed: {error}; `python -m pipelines "
            f"deploy {name} --version N` brings another one in"
        ) from error


def choose_way(cluster: Cluster, live: Object, in_place: bool = False) -> tuple[Way, str]:
    """How a candidate is brought in, and why; `in_place` where somebody knows of no room for two."""
    if is_knative(live):
        return "revisions", "Knative divides the requests"
    if is_stopped(live):
        return "direct", "it is stopped, so there are no requests to divide"
    predictor = live["spec"]["predictor"]
    replicas = predictor.get("minReplicas", 1)
    if in_place:
        return "direct", "--in-place was asked for"
    if replicas == 1 and not _has_surge(predictor):
        return "direct", "the deploymentStrategy leaves no room for a second pod"
    if replicas < 1:
        return "direct", "minReplicas is 0, and a canary may not have more"
    if not cluster.serves(HTTP_ROUTE) or cluster.get(HTTP_ROUTE, live["metadata"]["name"]) is None:
        return "direct", "without an HTTPRoute (enableGatewayApi) requests cannot be divided"
    return "canary", "HTTPRoutes divide the requests"


def _has_surge(predictor: Mapping[str, Any]) -> bool:
    strategy = predictor.get("deploymentStrategy") or {}
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge")
    return strategy.get("type") != "Recreate" and surge not in (0, "0", "0%")
