"""The validator that manifests are held against: each of its checks catches a wrong object."""

import copy
from typing import Any

import pytest

from tests.kubernetes_schemas import VERSIONS, require_crds, validate

CONTAINER = {"name": "main", "image": "stocktake-train:0.1.0"}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "trial"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}},
}
RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "stocktake-cpu"},
    "spec": {
        "supportedModelFormats": [{"name": "stocktake", "version": "1"}],
        "containers": [
            {
                "name": "kserve-container",
                "image": "stocktake-predictor-cpu:0.1.0",
                "ports": [{"containerPort": 8080}, {"containerPort": 8081}],
                "startupProbe": {"httpGet": {"path": "/v2", "port": 8080}},
                "resources": {"limits": {"cpu": 2, "memory": "2Gi"}},
            }
        ],
    },
}
EXPERIMENT = {
    "apiVersion": "kubeflow.org/v1beta1",
    "kind": "Experiment",
    "metadata": {"name": "bins"},
    "spec": {"anything": "goes", "trialTemplate": {"trialSpec": JOB}},
}
MISSING = object()


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one field set, or taken away where the value is MISSING."""
    made = copy.deepcopy(manifest)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    place: Any = made
    for part in parents:
        place = place[part]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize("manifest", [JOB, RUNTIME, EXPERIMENT], ids=lambda manifest: manifest["kind"])
def test_a_good_object_has_no_faults(manifest):
    assert validate(manifest) == []


POD = "spec/template/spec"


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("metadata/lables", {}, "'lables' was unexpected"),
        (f"{POD}/containers/0/imagePullpolicy", "Always", "'imagePullpolicy' was unexpected"),
        (f"{POD}/containers/0/name", MISSING, "'name' is a required property"),
        (f"{POD}/containers/0/image", 1, "1 is not of type 'string'"),
        (f"{POD}/restartPolicy", True, "True is not of type 'string'"),
        ("spec/backoffLimit", "3", "'3' is not of type 'integer'"),
    ],
)
def test_each_version_of_kubernetes_tells_a_wrong_field(path, value, told):
    faults = validate(changed(JOB, path, value))
    assert len(faults) == len(VERSIONS)
    for version, fault in zip(VERSIONS, faults, strict=True):
        assert fault.startswith(f"Job/trial (Kubernetes {version}) {path.rpartition('/')[0].split('/')[0]}")
        assert told in fault


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("metadata/lables", {}, "'lables' was unexpected"),
        ("spec/containers/0/lifecyle", {}, "unknown field 'lifecyle'"),
        ("spec/containers/0/startupProbe/httpGet/pathe", "/", "unknown field 'pathe'"),
        ("specs", {}, "unknown field 'specs'"),
        ("spec/supportedModelFormats/0/name", MISSING, "'name' is a required property"),
        ("spec/supportedModelFormats/0/version", 1, "1 is not of type 'string'"),
        ("spec/containers/0/startupProbe/httpGet/port", 1.5, "1.5"),
        ("spec/containers/0/ports/1/containerPort", 8080, "[8080, 'TCP'] comes twice"),
    ],
)
def test_a_custom_resource_definition_tells_a_wrong_field(path, value, told):
    faults = validate(changed(RUNTIME, path, value))
    assert faults
    assert all(fault.startswith("ServingRuntime/stocktake-cpu (") for fault in faults)
    assert told in "\n".join(faults)


def test_what_an_experiment_embeds_is_looked_at():
    (first, *_) = validate(changed(EXPERIMENT, f"spec/trialTemplate/trialSpec/{POD}/volumez", []))
    assert first.startswith("Job/trial (Kubernetes 1.33.0) spec.template.spec: ")
    assert validate(changed(EXPERIMENT, "spec/trialTemplate/trialSpec", MISSING))


@pytest.mark.parametrize(
    ("api_version", "kind"), [("policy/v1beta1", "PodDisruptionBudget"), ("apps/v1", "ServingRuntime")]
)
def test_a_kind_that_no_server_knows_is_a_fault(api_version, kind):
    require_crds()
    assert validate({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}}) == [
        f"{kind}/x: no schema for {api_version} {kind}"
    ]


def test_custom_resources_are_skipped_without_definitions(monkeypatch):
    monkeypatch.delenv("STOCKTAKE_CRDS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="STOCKTAKE_CRDS"):
        validate(RUNTIME)
    assert validate(JOB) == []
