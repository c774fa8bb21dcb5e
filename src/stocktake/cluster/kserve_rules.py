"""What KServe's webhooks refuse in an InferenceService, and what it takes and then does not do.

Its custom resource definition lets all of it pass. The rules are those of KServe 0.21. Each that is broken is
one line: the field, what was found, what to do.
"""

import re
from collections.abc import Iterator
from typing import Any

PREFIX = "serving.kserve.io/"
CLASSES = ("hpa", "keda", "external", "none")
NOT_OF_A_CANARY = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec")
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_CHARS = 63  # of a Kubernetes label; KServe labels pods isvc.<name>-<predictor's name>-predictor

Object = dict[str, Any]


def service_problems(service: Object) -> Iterator[str]:
    """Say what KServe would refuse, ignore or misunderstand in an InferenceService."""
    spec = service.get("spec") or {}
    predictor, annotations = spec.get("predictor") or {}, service["metadata"].get("annotations") or {}
    mode, scaler = (
        annotations.get(f"{PREFIX}deploymentMode"),
        annotations.get(f"{PREFIX}autoscalerClass", "hpa"),
    )
    if mode not in ("Standard", "Knative"):  # KServe's default differs between its installers
        yield f"annotation {PREFIX}deploymentMode: {mode}; give Standard or Knative"
    if scaler not in CLASSES:
        yield f"annotation {PREFIX}autoscalerClass: {scaler}; give one of {', '.join(CLASSES)}"
    yield from _names(service["metadata"].get("name", ""), spec)
    yield from _model(predictor, "spec.predictor")
    yield from _replicas(predictor, mode)
    if mode == "Knative":
        yield from _knative(spec)
    elif scaler == "keda":
        yield from _keda(predictor)
    elif scaler == "hpa":
        yield from _hpa(predictor)
    yield from _canaries(spec, mode, scaler)


def runtime_problems(runtime: Object) -> Iterator[str]:
    """Say what KServe would refuse in a ServingRuntime."""
    containers = runtime.get("spec", {}).get("containers") or []
    if not any(container.get("name") == "kserve-container" for container in containers):
        yield "spec.containers: none is named kserve-container, which KServe takes for the server; name it so"
    for container in containers:
        yield from _variables(container, f"spec.containers[{container.get('name')}]")


def _names(name: str, spec: Object) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"metadata.name: {name}; use a-z, 0-9 and '-', from a letter on"
    for part in (spec, *(spec.get("canary") or [])):
        slot = (part.get("predictor") or {}).get("name")
        label = "-".join(filter(None, (f"isvc.{name}", slot, "predictor")))
        if len(label) > LABEL_CHARS:
            yield f"metadata.name: makes the label {label} of {len(label)} characters; {LABEL_CHARS} may be"


def _model(predictor: Object, where: str) -> Iterator[str]:
    model = predictor.get("model") or {}
    if not predictor.get("model") and not predictor.get("containers"):
        yield f"{where}: has neither model nor containers; give a model"
    if model.get("name"):
        yield f"{where}.model.name: {model['name']}; KServe gives the container its name, leave it out"
    uri, uris = model.get("storageUri"), predictor.get("storageUris")
    if uri and uris:
        yield f"{where}: has storageUri and storageUris; give one of them"
    if uri and uri.startswith("s3://") and not uri.endswith("/"):
        yield f"{where}.model.storageUri: {uri} also fetches what begins like it; end it with '/'"
    for path in (str(entry.get("mountPath")) for entry in uris or []):
        if not path.startswith("/") or path == "/" or ".." in path:
            yield f"{where}.storageUris: mountPath {path}; give an absolute path without '..'"
    yield from _variables(model, f"{where}.model")


def _variables(container: Object, where: str) -> Iterator[str]:
    if any(entry.get("name") == "PYTHONPATH" for entry in container.get("env") or []):
        yield f"{where}.env: sets PYTHONPATH, which KServe forbids; set it in the image"


def _replicas(predictor: Object, mode: str | None) -> Iterator[str]:
    least, most = predictor.get("minReplicas", 1), predictor.get("maxReplicas") or 0
    if least < 0 or most < 0 or (most and least > most):
        yield f"spec.predictor: minReplicas {least}, maxReplicas {most}; give 0 or more, the least first"
    if mode != "Standard":
        return
    if least == 0:
        yield "spec.predictor.minReplicas: 0 in Standard mode, where no request wakes a predictor; give 1"
    for field in ("canaryTrafficPercent", "containerConcurrency"):
        if predictor.get(field):
            yield f"spec.predictor.{field}: has no effect in Standard mode; leave it out"
    rolling = (predictor.get("deploymentStrategy") or {}).get("rollingUpdate") or {}
    if rolling.get("maxSurge") in (0, "0", "0%") and max(least, most) < 2:
        yield "spec.predictor.deploymentStrategy: maxSurge 0 with one replica leaves nobody to answer; give 1"


def _knative(spec: Object) -> Iterator[str]:
    predictor = spec.get("predictor") or {}
    metric, target = predictor.get("scaleMetric", "concurrency"), predictor.get("scaleTarget")
    if metric not in ("concurrency", "rps"):
        yield f"spec.predictor.scaleMetric: {metric} in Knative mode; give concurrency or rps"
    if target is not None and target < 1:
        yield f"spec.predictor.scaleTarget: {target}; give 1 or more"
    for field in ("deploymentStrategy", "terminationGracePeriodSeconds"):
        if predictor.get(field) is not None:
            yield f"spec.predictor.{field}: is refused in Knative mode; leave it out"


def _keda(predictor: Object) -> Iterator[str]:
    if predictor.get("scaleMetric"):
        yield "spec.predictor.scaleMetric: is refused with KEDA; give autoScaling.metrics"
    metrics = (predictor.get("autoScaling") or {}).get("metrics") or []
    if not metrics:
        yield "spec.predictor.autoScaling.metrics: is empty, and KEDA takes no ScaledObject without; give one"
    for number, metric in enumerate(metrics):
        where = f"spec.predictor.autoScaling.metrics[{number}]"
        kind = metric.get("type")
        if kind not in ("Resource", "External", "PodMetric"):
            yield f"{where}.type: {kind}; give Resource, External or PodMetric"
            continue
        source = metric.get(kind[0].lower() + kind[1:]) or {}
        if kind == "Resource":
            yield from _resource(source, where)
        elif not (source.get("metric") or {}).get("query") or not (source.get("target") or {}).get("value"):
            yield f"{where}: has no query or no target.value; give both"


def _resource(source: Object, where: str) -> Iterator[str]:
    name, target = source.get("name"), source.get("target") or {}
    kinds = {"cpu": ("Utilization",), "memory": ("Utilization", "AverageValue")}.get(str(name), ())
    if target.get("type") not in kinds:
        yield f"{where}: {name} by {target.get('type')}; give cpu by Utilization, memory also by AverageValue"


def _hpa(predictor: Object) -> Iterator[str]:
    metric, target = predictor.get("scaleMetric", "cpu"), predictor.get("scaleTarget")
    scaling = predictor.get("autoScaling") or {}
    if metric not in ("cpu", "memory"):
        yield f"spec.predictor.scaleMetric: {metric} with hpa; give cpu or memory, or use keda"
    if target is not None and (target < 1 or target > 100):
        yield f"spec.predictor.scaleTarget: {target}; give a percentage from 1 to 100"
    if any(entry.get("type") != "Resource" for entry in scaling.get("metrics") or []):
        yield "spec.predictor.autoScaling.metrics: hpa takes those of type Resource only; use keda for others"
    if scaling.get("behavior"):
        yield "spec.predictor.autoScaling.behavior: is ignored with hpa; leave it out, or use keda"


def _canaries(spec: Object, mode: str | None, scaler: str) -> Iterator[str]:
    canaries, stable = spec.get("canary") or [], spec.get("predictor") or {}
    if canaries and mode != "Standard":
        yield f"spec.canary: in {mode} mode; use canaryTrafficPercent there"
    if sum(canary.get("trafficPercent", 0) for canary in canaries) > 100:
        yield "spec.canary: trafficPercent adds up to more than 100; give less"
    names = [stable.get("name", "")]
    for number, canary in enumerate(canaries):
        where, predictor = f"spec.canary[{number}].predictor", canary.get("predictor") or {}
        name = predictor.get("name", "")
        if not name or name in names:
            yield f"{where}.name: {name or 'is missing'}; give one that no other predictor has"
        names.append(name)
        for field in NOT_OF_A_CANARY:
            if predictor.get(field):
                yield f"{where}.{field}: is refused, a canary has a fixed number of replicas; leave it out"
        if predictor.get("minReplicas", 0) > stable.get("minReplicas", 1):
            yield f"{where}.minReplicas: {predictor['minReplicas']}, more than the stable one has; give less"
        own = (predictor.get("annotations") or {}).get(f"{PREFIX}autoscalerClass", scaler)
        if own == "keda":  # KServe makes a ScaledObject without triggers, which the API server refuses
            yield f"{where}.annotations: {PREFIX}autoscalerClass is keda; give none, or it never comes up"
        yield from _model(predictor, where)
