"""Each rule of the lint catches a wrong object, and pods are found in all that make some."""

import copy
from typing import Any

import pytest

from stocktake.cluster.lint import lint
from tests.pods import pod_specs, predictor_pod, violations

SERVING = "serving.kserve.io"
CANARY = {
    "trafficPercent": 20,
    "predictor": {"name": "v2", "model": {"name": "", "storageUri": "s3://b/m/2/"}},
}
SERVICE: dict[str, Any] = {
    "kind": "InferenceService",
    "metadata": {"name": "shelf-detector", "annotations": {f"{SERVING}/deploymentMode": "Standard"}},
    "spec": {"predictor": {"name": "v1", "minReplicas": 2, "model": {"storageUri": "s3://b/m/1/"}}},
}
QUERY = {"metric": {"query": "sum(x)"}, "target": {"type": "Value", "value": "8"}}
KEDA = {"autoScaling": {"metrics": [{"type": "External", "external": QUERY}]}}
STRATEGY = {"minReplicas": 1, "deploymentStrategy": {"rollingUpdate": {"maxSurge": 0}}}
CONTAINER = {
    "name": "main",
    "image": "stocktake-train:0.1.0",
    "securityContext": {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def service(
    predictor: dict | None = None, mode: str = "Standard", scaler: str | None = None, **more: Any
) -> dict:
    """A good InferenceService with some of it changed."""
    made = copy.deepcopy(SERVICE)
    made["spec"]["predictor"] |= predictor or {}
    made["spec"] |= more
    made["metadata"]["annotations"][f"{SERVING}/deploymentMode"] = mode
    if scaler:
        made["metadata"]["annotations"][f"{SERVING}/autoscalerClass"] = scaler
    return made


def canary(**changed: Any) -> dict:
    return {**CANARY, "predictor": {**CANARY["predictor"], **changed}}


@pytest.mark.parametrize(
    "manifest",
    [
        service(),
        service({"minReplicas": 0, "scaleMetric": "rps", "scaleTarget": 4, "maxReplicas": 3}, mode="Knative"),
        service(KEDA, scaler="keda"),
        service(KEDA, scaler="keda", canary=[canary(annotations={f"{SERVING}/autoscalerClass": "none"})]),
        service(scaler="none", canary=[canary()]),
        service({"deploymentStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
        service({**STRATEGY, "maxReplicas": 4}),
        {
            "kind": "Job",
            "metadata": {"name": "x"},
            "spec": {"template": {"spec": {"containers": [CONTAINER]}}},
        },
    ],
)
def test_what_is_good_is_let_through(manifest):
    assert lint(manifest) == []


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (service(mode="Serverless"), "deploymentMode: Serverless; give Standard or Knative"),
        (service(scaler="vpa"), "autoscalerClass: vpa"),
        (service({"name": "v" * 40}), "makes the label isvc.shelf-detector-"),
        (service({"model": {}}), "has neither model nor containers"),
        (service({"model": {"name": "m"}}), "spec.predictor.model.name: m"),
        (service({"storageUris": [{"mountPath": "/a"}]}), "storageUri and storageUris"),
        (service({"model": {"env": []}, "storageUris": [{"mountPath": "/a/../b"}]}), "mountPath /a/../b"),
        (service({"model": {"storageUri": "s3://b/m/1"}}), "s3://b/m/1 also fetches"),
        (service({"model": {"env": [{"name": "PYTHONPATH", "value": "x"}]}}), "sets PYTHONPATH"),
        (service({"model": {"image": "own:latest"}}), "image own:latest"),
        (service({"maxReplicas": 1}), "minReplicas 2, maxReplicas 1"),
        (service({"minReplicas": 0}), "0 in Standard mode"),
        (service({"canaryTrafficPercent": 10}), "canaryTrafficPercent: has no effect"),
        (service({"containerConcurrency": 4}), "containerConcurrency: has no effect"),
        (service(STRATEGY), "maxSurge 0 with one replica"),
        (service({"scaleMetric": "cpu"}, mode="Knative"), "scaleMetric: cpu in Knative"),
        (service({"scaleTarget": 0}, mode="Knative"), "scaleTarget: 0"),
        (
            service({"deploymentStrategy": {"type": "Recreate"}}, mode="Knative"),
            "deploymentStrategy: is refused",
        ),
        (service({"terminationGracePeriodSeconds": 60}, mode="Knative"), "terminationGracePeriodSeconds"),
        (service({**KEDA, "scaleMetric": "cpu"}, scaler="keda"), "scaleMetric: is refused with KEDA"),
        (service(scaler="keda"), "autoScaling.metrics: is empty"),
        (service({"autoScaling": {"metrics": [{"type": "Pods"}]}}, scaler="keda"), "metrics[0].type: Pods"),
        (
            service({"autoScaling": {"metrics": [{"type": "External"}]}}, scaler="keda"),
            "no query or no target",
        ),
        (
            service(
                {"autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]}},
                scaler="keda",
            ),
            "cpu by None",
        ),
        (service({"scaleMetric": "concurrency"}), "scaleMetric: concurrency with hpa"),
        (service({"scaleTarget": 120}), "scaleTarget: 120"),
        (service(KEDA), "hpa takes those of type Resource only"),
        (service({"autoScaling": {"behavior": {"scaleDown": {}}}}), "behavior: is ignored with hpa"),
        (service(mode="Knative", canary=[canary()]), "spec.canary: in Knative mode"),
        (service(canary=[{**CANARY, "trafficPercent": 101}]), "adds up to more than 100"),
        (service(canary=[canary(name="v1")]), "predictor.name: v1"),
        (service(canary=[canary(name="")]), "predictor.name: is missing"),
        (service(canary=[CANARY, CANARY]), "spec.canary[1].predictor.name: v2"),
        (service(canary=[canary(maxReplicas=3)]), "maxReplicas: is refused"),
        (service(canary=[canary(minReplicas=3)]), "minReplicas: 3, more than the stable one has"),
        (service(KEDA, scaler="keda", canary=[canary()]), "autoscalerClass is keda"),
        (service(canary=[canary(model={"storageUri": "s3://b/m/2"})]), "s3://b/m/2 also fetches"),
        (
            {"kind": "ServingRuntime", "metadata": {"name": "x"}, "spec": {"containers": [CONTAINER]}},
            "kserve-c",
        ),
        ({"kind": "ConfigMap", "metadata": {"name": "x" * 64}}, "has 64 characters"),
        (
            {"kind": "Pod", "metadata": {}, "spec": {"initContainers": [{"image": "a"}]}},
            "image a: may change",
        ),
    ],
)
def test_each_rule_tells_what_to_do(manifest, told):
    (problem,) = lint(manifest)
    assert problem.startswith(f"{manifest['kind']}/{manifest['metadata'].get('name', '')} ")
    assert told in problem
    assert problem.count(";") == 1  # what was found; what to do


def test_a_name_that_kserve_refuses():
    made = service()
    made["metadata"]["name"] = "Shelf_detector"
    (problem,) = lint(made)
    assert problem.endswith(" metadata.name: Shelf_detector; use a-z, 0-9 and '-', from a letter on")


def test_pods_are_found_in_whatever_holds_them():
    pod = {"containers": [CONTAINER]}
    job = {"kind": "Job", "spec": {"template": {"spec": pod}}}
    assert list(pod_specs(job)) == [pod]
    assert list(pod_specs({"kind": "CronJob", "spec": {"jobTemplate": job}})) == [pod]
    assert list(pod_specs({"kind": "Experiment", "spec": {"trialTemplate": {"trialSpec": job}}})) == [pod]
    assert list(pod_specs({"kind": "ServingRuntime", "spec": pod})) == [pod]
    assert list(pod_specs({"kind": "ClusterStorageContainer", "spec": {"container": CONTAINER}})) == [pod]
    assert list(pod_specs({"kind": "ConfigMap"})) == []


def test_a_predictor_is_its_runtime_with_the_service_over_it():
    runtime = {"spec": {"volumes": [], "containers": [{**CONTAINER, "args": ["--a"]}]}}
    made = service({"terminationGracePeriodSeconds": 9, "model": {"args": ["--b"], "securityContext": {}}})
    pod = predictor_pod(made, runtime)
    assert pod["terminationGracePeriodSeconds"] == 9
    assert pod["containers"][0]["args"] == ["--a", "--b"]
    assert violations(pod)
