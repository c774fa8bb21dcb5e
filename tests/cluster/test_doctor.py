"""The checks of a cluster, against a real Kubernetes API: what is wrong is one line that says so."""

import time

import pytest

from pipelines.__main__ import main
from stocktake.cluster.api import Cluster, Kind
from stocktake.cluster.connection import connect
from stocktake.doctor import bucket, kubeflow, kubernetes_checks, nodes, predictors, services, serving
from stocktake.doctor.checks import CLUSTER, cluster_checks
from stocktake.doctor.examination import examine
from stocktake.doctor.finding import Finding, Status, Unseen
from stocktake.doctor.site import Site
from tests import healthy_site as healthy
from tests.cluster.roles import allow
from tests.kube_api import DEFINITION

NEED_SERVERS = {"s3 store", "mlflow", "champions", "prometheus"}  # which this cluster has no pods for


@pytest.fixture
def site(cluster, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "KUBERNETES_SERVICE_HOST", "PROMETHEUS_URL"):
        monkeypatch.delenv(name, raising=False)
    yield healthy.healthy(cluster)
    Cluster(cluster._client, "default").delete(Kind("v1", "Pod"), "busy")
    for name in ("gpu-0", "gpu-1"):
        cluster.delete(Kind("v1", "Node"), name)


def fails(check, site, *words):
    """The check fails, says all the words, and what to do."""
    finding = check(Site(site.cluster))
    assert finding.status is Status.FAIL, finding
    assert all(word in f"{finding.found}; {finding.mend}" for word in words), finding
    assert finding.mend


def warns(check, site, *words):
    finding = check(Site(site.cluster))
    assert finding.status is Status.WARN, finding
    assert all(word in f"{finding.found}; {finding.mend}" for word in words), finding


def all_checks(site: Site) -> dict[str, Finding]:
    checks = {name: lambda check=check: check(site) for name, check in CLUSTER.items()}
    return dict(examine(checks, timeout_s=300))  # others may have the cores


def test_a_healthy_cluster(site):
    site.cluster.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pipeline-runner"}}
    )
    allow(site.cluster, {"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": site.namespace})
    found = all_checks(site)
    assert list(found) == list(CLUSTER)
    assert {name for name, finding in found.items() if finding.status is not Status.OK} == NEED_SERVERS
    assert "4 nvidia.com/gpu on 1 of" in found["gpus"].found
    assert "kserve-controller:v0.21.0 in kserve" in found["kserve version"].found
    assert "192.0.2.7" in found["gateway"].found


def test_nothing_fails_without_the_gateway_api(site):
    """Which overlays/local does not need."""
    healthy.settings(site.cluster, "Standard", "false")
    found = all_checks(site)
    assert [name for name, finding in found.items() if finding.status is Status.FAIL] == []
    assert {found["kserve mode"].status, found["gateway"].status} == {Status.WARN}


def test_the_command_line(site, capsys):
    site.cluster.delete(Kind("v1", "ConfigMap"), "endpoints")
    assert main(["doctor", "--cluster", "--context", "test", "--timeout", "300"]) == 1
    output = capsys.readouterr()
    assert f"no ConfigMap endpoints in {site.namespace}" in output.out
    assert len(output.out.splitlines()) == len(CLUSTER)
    assert "a check failed" in output.err
    assert main(["doctor", "--cluster", "--namespace", "nowhere", "--timeout", "300"]) == 1
    assert "there is no namespace nowhere" in capsys.readouterr().out


def test_a_cluster_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    [(name, finding)] = examine(cluster_checks(), 60)
    assert (name, finding.status) == ("kubernetes", Status.FAIL)
    assert "no cluster is configured" in finding.found


def test_somebody_without_rights(site, kube_api, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(kube_api.kubeconfig("nobody", site.namespace)))
    nobody = Site(connect())
    fails(CLUSTER["may deploy"], nobody, "patch inferenceservices.serving.kserve.io", "list pods")
    fails(CLUSTER["may search"], nobody, "create experiments.kubeflow.org")
    fails(CLUSTER["may train"], nobody, "create trainjobs.trainer.kubeflow.org")
    found = all_checks(nobody)
    assert found["gpus"].status is Status.WARN
    assert "this account may not look" in found["gpus"].found
    assert "403" in found["predictors"].found


def test_rights_that_are_given_are_seen(site, kube_api):
    somebody = {"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}
    allow(site.cluster, somebody)
    nobody = Site(kube_api.connect(site.namespace, "nobody"))
    for name in ("may deploy", "may search", "may train"):
        assert CLUSTER[name](nobody).status is Status.OK


def test_steps_that_may_not_deploy(site):
    warns(kubernetes_checks.runner_rights, site, "no service account pipeline-runner")
    healthy.put(Cluster(site.cluster._client, "kubeflow"), "v1", "ServiceAccount", "pipeline-runner")
    fails(kubernetes_checks.runner_rights, site, "pipeline-runner of kubeflow", "patch inferenceservices")
    runner = {"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}
    allow(site.cluster, runner)
    assert kubernetes_checks.runner_rights(site).status is Status.OK
    site.cluster._client.request("delete", "/api/v1/namespaces/kubeflow/serviceaccounts/pipeline-runner")


def test_an_api_that_is_missing(site):
    said = {
        Kind("example.org/v1", "Dream"): "no example.org: dreams end",
        Kind("serving.kserve.io/v1alpha9", "InferenceService"): "served as v1beta1, v1alpha1, not v1alpha9",
        Kind("serving.kserve.io/v1beta1", "Dream"): "serving.kserve.io/v1beta1 without Dream",
    }
    for kind, words in said.items():
        finding = kubernetes_checks.apis(site, (kind,), Status.FAIL, "dreams end", "install it")
        assert finding.status is Status.FAIL
        assert words in finding.found


def test_a_definition_that_is_taken_away(site):
    assert serving.keda(site).status is Status.OK
    serve_scaled_objects(site, False)
    try:
        warns(serving.keda, site, "keda.sh/v1alpha1 without ScaledObject", "overlay gpu")
        healthy.predictor(site.cluster, autoscaler="external")
        warns(serving.keda, site, "keda.sh/v1alpha1 without ScaledObject", "overlay gpu")
        for scaled in ({"autoscaler": "keda"}, {"autoscaler": "external", "maxReplicas": 2}):
            healthy.predictor(site.cluster, **scaled)
            fails(serving.keda, site, "shelf-detector never scales")
    finally:
        serve_scaled_objects(site, True)


def test_labels_of_the_namespace(site):
    def label(namespace=site.namespace, **labels):
        healthy.put(site.cluster, "v1", "Namespace", namespace, labels=labels)

    assert kubernetes_checks.collector_label(site).status is Status.OK
    label("kubeflow")
    warns(kubernetes_checks.collector_label, site, "label namespace kubeflow --overwrite", "kubeflow has no")
    label()
    warns(kubernetes_checks.namespace, site, "of no level", "enforce=restricted")
    warns(kubernetes_checks.collector_label, site, "metrics-collector-injection=enabled")
    label(**{"control-plane": "x", "pod-security.kubernetes.io/enforce": "restricted"})
    fails(kubernetes_checks.namespace, site, "KServe fetches no models", "control-plane-")


def test_a_kserve_that_is_too_old_or_does_not_run(site):
    kserve = Cluster(site.cluster._client, "kserve")
    labels = {"control-plane": "kserve-controller-manager"}
    healthy.deployment(kserve, "kserve-controller-manager", "kserve/kserve-controller:v0.20.1", labels)
    fails(serving.version, site, "v0.20.1", "canary", "0.21")
    healthy.deployment(kserve, "kserve-controller-manager", healthy.IMAGE, labels, available=0)
    fails(serving.version, site, "does not run")
    kserve.delete(Kind("apps/v1", "Deployment"), "kserve-controller-manager")
    fails(serving.version, site, "no controller")


def test_a_kserve_of_the_wrong_mode(site):
    healthy.settings(site.cluster, "Serverless", "false")
    warns(
        serving.mode,
        site,
        "shelf-detector are in mode Standard without the Gateway API",
        "enableGatewayApi true",
    )
    warns(serving.gateway, site, "does not use the Gateway API")
    healthy.settings(site.cluster, "Serverless", "true")
    assert serving.mode(Site(site.cluster)).status is Status.OK  # the annotation says Standard
    healthy.predictor(site.cluster, mode=None)
    fails(serving.mode, site, "shelf-detector are to be deployed by Knative, which is not installed")
    healthy.settings(site.cluster, "RawDeployment", "true")
    warns(serving.mode, site, "without the annotation")
    site.cluster.delete(Kind("serving.kserve.io/v1beta1", "InferenceService"), "shelf-detector")
    healthy.settings(site.cluster, "Knative", "true")
    fails(serving.mode, site, "by default, predictors are")


def test_a_gateway_that_is_not_there_or_not_programmed(site):
    kserve = Cluster(site.cluster._client, "kserve")
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/kserve-ingress-gateway"
    broken = {"conditions": [healthy.condition("Programmed", "False", "no address")]}
    healthy.state(kserve, path, broken)
    fails(serving.gateway, site, "not programmed: no address", "kubectl -n kserve describe gateway")
    kserve.delete(Kind("gateway.networking.k8s.io/v1", "Gateway"), "kserve-ingress-gateway")
    fails(serving.gateway, site, "no Gateway kserve/kserve-ingress-gateway")


def test_gpus_that_no_node_has(site):
    healthy.node(site.cluster, "gpu-0", {})
    fails(nodes.gpus, site, "no node offers nvidia.com/gpu", "overlays/local")
    healthy.node(site.cluster, "gpu-0", {"nvidia.com/gpu": "1"})
    healthy.predictor(site.cluster, resource="nvidia.com/mig-1g.18gb")
    fails(nodes.gpus, site, "no node offers nvidia.com/mig-1g.18gb")
    site.cluster.delete(Kind("serving.kserve.io/v1beta1", "InferenceService"), "shelf-detector")
    healthy.node(site.cluster, "gpu-0", {})
    warns(nodes.gpus, site, "no node offers GPUs")


def test_taints_that_keep_pods_off(site):
    healthy.node(site.cluster, "gpu-0", {"nvidia.com/gpu": "1"}, ("nvidia.com/gpu", "NoSchedule"))
    assert nodes.taints(Site(site.cluster)).status is Status.OK
    healthy.node(site.cluster, "gpu-0", {"nvidia.com/gpu": "1"}, ("spot", "NoSchedule"))
    fails(nodes.taints, site, "spot:NoSchedule")
    healthy.node(site.cluster, "gpu-1", {"nvidia.com/gpu": "1"})
    warns(nodes.taints, site, "spot:NoSchedule", "1 nodes are open")


def test_updates_without_a_spare_gpu(site):
    assert nodes.rollout(site).status is Status.OK
    container = {"name": "a", "image": "a:1", "resources": {"limits": {"nvidia.com/gpu": "4"}}}
    spec = {"nodeName": "gpu-0", "containers": [container], "terminationGracePeriodSeconds": 0}
    elsewhere = Cluster(site.cluster._client, "default")
    elsewhere.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy"}, "spec": spec})
    warns(nodes.rollout, site, "no spare GPU for an update of shelf-detector", "one replica", "predictor-cpu")
    healthy.predictor(site.cluster, minReplicas=2)
    fails(nodes.rollout, site, "new pods come before old ones go", "maxSurge 0")
    kept = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    healthy.predictor(site.cluster, minReplicas=2, deploymentStrategy=kept)
    assert nodes.rollout(Site(site.cluster)).status is Status.OK


def test_predictors_that_cannot_serve(site):
    healthy.predictor(site.cluster, uri="s3://models/shelf-detector/v1")
    fails(predictors.predictors, site, "no / at the end", "shelf-detector")
    healthy.predictor(site.cluster, uri=None)
    site.cluster.delete(Kind("serving.kserve.io/v1beta1", "InferenceService"), "shelf-detector")
    healthy.predictor(site.cluster, uri=None)
    warns(
        predictors.predictors,
        site,
        "no model yet: shelf-detector",
        "python -m pipelines deploy shelf-detector",
    )
    healthy.predictor(site.cluster, ready="False")
    fails(predictors.predictors, site, "not ready: shelf-detector (no GPU is free)")
    healthy.predictor(site.cluster, ready="False", stopped=True)
    command = f"kubectl -n {site.namespace} annotate inferenceservice shelf-detector serving.kserve.io/stop-"
    warns(predictors.predictors, site, "stopped: shelf-detector", command)
    healthy.predictor(site.cluster, runtime="triton")
    fails(predictors.runtimes, site, "no ServingRuntime triton", "kubectl apply --server-side -k")


def test_images_that_move(site):
    app = {"app": "page"}
    digest = f"page@sha256:{'0' * 64}"
    healthy.deployment(site.cluster, "page", digest, app)
    assert "2 images, 1 by digest" in predictors.images(Site(site.cluster)).found
    for moving in ("stocktake-gateway:latest", "registry.example.org:5000/stocktake-gateway"):
        healthy.deployment(site.cluster, "page", moving, app)
        fails(predictors.images, site, moving)


def test_a_name_that_no_host_can_have(site):
    assert predictors.names(site).status is Status.OK
    healthy.predictor(site.cluster, "shelf-detector-of-the-second-floor-north")
    fails(predictors.names, site, "over 63 characters", "shelf-detector-of-the-second-floor-north-predictor-")


def test_endpoints_that_pods_cannot_use(site):
    store, mlflow = {"STOCKTAKE_STORE": "s3://a"}, {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    wrong = {
        "without MLFLOW_TRACKING_URI": store,
        "pods share no folder": {**mlflow, "STOCKTAKE_STORE": "/data"},
        "'mlflow:5000'; it must look like": {**store, "MLFLOW_TRACKING_URI": "mlflow:5000"},
        "in a pod that is the pod itself": {**store, **mlflow, "S3_ENDPOINT_URL": "http://localhost:9000"},
    }
    for words, data in wrong.items():
        healthy.put(site.cluster, "v1", "ConfigMap", "endpoints", data=data)
        fails(services.endpoints, site, words, "edit configmap endpoints")


def test_a_key_that_is_not_whole_or_that_kserve_does_not_get(site):
    warns(services.prometheus, site, "PROMETHEUS_URL")
    healthy.secret(site.cluster, AWS_ACCESS_KEY_ID="key")
    fails(bucket.credentials, site, "without AWS_SECRET_ACCESS_KEY")
    both = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    healthy.predictor(site.cluster, storageContainerName="elsewhere")
    fails(bucket.fetching, site, "no ClusterStorageContainer elsewhere", "manifests/cluster")
    healthy.predictor(site.cluster, storageContainerName=None)
    annotations = {"serving.kubeflow.org/s3-endpoint": "minio.tools.svc:9000"}
    healthy.secret(site.cluster, annotations, **both)
    fails(bucket.fetching, site, "does not know the annotation serving.kubeflow.org/s3-endpoint")
    right = {"serving.kserve.io/s3-endpoint": "minio.tools.svc:9000"}
    healthy.secret(site.cluster, right, **both)
    fails(bucket.fetching, site, "s3-usehttps does not fit http://minio")
    healthy.secret(site.cluster, {**right, "serving.kserve.io/s3-usehttps": "0"}, **both)
    fails(bucket.fetching, site, "service account predictor does not list")
    healthy.put(site.cluster, "v1", "ServiceAccount", "predictor", secrets=[{"name": "s3-credentials"}])
    assert bucket.fetching(Site(site.cluster)).status is Status.OK


def test_pipelines_with_the_mlflow_of_somebody_else(site):
    kubeflow_namespace = Cluster(site.cluster._client, "kubeflow")
    labels = {"app": "ml-pipeline"}
    healthy.deployment(kubeflow_namespace, "ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.17.0", labels)
    warns(
        kubeflow.pipelines, site, "another installation's MLflow", "manifests/kubeflow-pipelines/api-server"
    )
    healthy.deployment(kubeflow_namespace, "ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.18.0", labels)
    kubeflow_namespace.delete(Kind("v1", "ConfigMap"), "endpoints")
    warns(kubeflow.pipelines, site, "no ConfigMap endpoints in kubeflow", "kubeflow-pipelines/runs")
    kubeflow_namespace.delete(Kind("apps/v1", "Deployment"), "ml-pipeline")
    warns(kubeflow.pipelines, site, "not installed")


def test_names_within_the_cluster_say_how_to_be_reached(site, monkeypatch):
    with pytest.raises(Unseen, match="kubectl -n tools port-forward svc/mlflow 5000"):
        services.mlflow(site)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert site.from_here("http://mlflow.tools.svc:5000", "MLFLOW_TRACKING_URI") == "http://localhost:5000"
    name = f"store.{site.namespace}"
    assert site.from_here(f"http://{name}:9000", "MLFLOW_TRACKING_URI") == f"http://{name}:9000"
    healthy.put(site.cluster, "v1", "Service", "store", spec={"ports": [{"port": 9000}]})
    assert site.from_here(f"http://{name}:9000", "MLFLOW_TRACKING_URI") == "http://localhost:5000"


def serve_scaled_objects(site: Site, served: bool) -> None:
    """Take KEDA's definition out of the API, or bring it back: quicker than to make it anew."""
    path = f"/apis/{DEFINITION.api_version}/customresourcedefinitions/scaledobjects.keda.sh"
    change = [{"op": "replace", "path": "/spec/versions/0/served", "value": served}]
    site.cluster._client.request("patch", path, change, content_type="application/json-patch+json")
    while bool(kubernetes_checks.missing(site, serving.SCALED_OBJECT)) is served:
        time.sleep(0.02)
