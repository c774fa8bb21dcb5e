"""What the overlays put onto a cluster: accepted, linted, locked down, and nothing in it said twice."""

import functools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.utils import parse_quantity

from serving.predictors.__main__ import _parser
from serving.predictors.settings import ServerSettings
from stocktake.cluster import namespace
from stocktake.cluster.lint import containers, lint
from stocktake.cluster.rehearsal import rehearsal_name
from tests.kubernetes_schemas import is_builtin, validate
from tests.kustomize import MANIFESTS, OVERLAYS, Objects, of_kind, overlay, render, render_with
from tests.pods import pod_specs, predictor_pod, violations

NAMES = ("stocktake-predictor-cpu", "stocktake-predictor-gpu", "stocktake-gateway")
IMAGES = {f"{name}:{version('stocktake')}" for name in NAMES}
MODELS = {"shelf-detector", "bin-counter"}
API_SERVER = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "ml-pipeline", "namespace": "kubeflow"},
    "spec": {
        "selector": {"matchLabels": {"app": "ml-pipeline"}},
        "template": {
            "metadata": {"labels": {"app": "ml-pipeline"}},
            "spec": {"containers": [{"name": "ml-pipeline-api-server", "image": "api-server:2.17.0"}]},
        },
    },
}


def whole_gpus(folder: Path) -> Objects:
    return render_with(folder, ["overlays/gpu"], ["components/quota"])


def slices(folder: Path) -> Objects:
    return render_with(folder, ["overlays/gpu"], ["components/quota", "components/mig"])


def identities(folder: Path) -> Objects:
    return render_with(folder, ["overlays/gpu"], ["components/pod-identity"])


def tokens(folder: Path) -> Objects:
    return render_with(folder, ["overlays/gpu"], ["components/predictor-token"])


def pipelines_in_kubeflow(folder: Path) -> Objects:
    (folder / "api-server.yaml").write_text(yaml.safe_dump(API_SERVER))
    made = render_with(folder, ["api-server.yaml"], ["kubeflow-pipelines/api-server"])
    return made + render(MANIFESTS / "kubeflow-pipelines/runs")


VARIANTS = {
    "mig": slices,
    "pod identity": identities,
    "predictor token": tokens,
    "kubeflow": pipelines_in_kubeflow,
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Callable[[str], Objects]:
    """An overlay or a variant by its name, rendered once."""

    @functools.cache
    def make(name: str) -> Objects:
        return overlay(name) if name in OVERLAYS else VARIANTS[name](tmp_path_factory.mktemp("variant"))

    return make


@pytest.fixture(scope="module", params=[*OVERLAYS, *VARIANTS])
def objects(request, rendered) -> Objects:
    return rendered(request.param)


def predictors(objects: Objects) -> list[tuple[dict, dict]]:
    """Each InferenceService with the pod that KServe makes of it."""
    runtimes = of_kind(objects, "ServingRuntime")
    services = of_kind(objects, "InferenceService").values()
    return [
        (made, predictor_pod(made, runtimes[made["spec"]["predictor"]["model"]["runtime"]]))
        for made in services
    ]


def is_knative(service: dict) -> bool:
    return service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"


def as_pod(spec: dict) -> dict:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


def storage_pod(storage: dict) -> dict:
    """A pod of the container in a ClusterStorageContainer, whose image is KServe's."""
    return {"containers": [{"image": "kserve/storage-initializer:v0.21.0", **storage["spec"]["container"]}]}


def test_an_api_server_takes_every_object_of_its_own_kinds_as_it_is(objects):
    own = [made for made in objects if is_builtin(made)]
    storage = of_kind(objects, "ClusterStorageContainer").values()
    pods = [as_pod(pod) for _, pod in predictors(objects)] + [as_pod(storage_pod(made)) for made in storage]
    assert {"ConfigMap", "Role"} <= {made["kind"] for made in own}
    assert [fault for made in own + pods for fault in validate(made)] == []


def test_an_api_server_takes_every_custom_resource_as_it_is(objects):
    known = [made for made in objects if made["kind"] != "ClusterStorageContainer"]  # for which see below
    assert [fault for made in known if not is_builtin(made) for fault in validate(made)] == []


def test_fetching_is_for_model_dirs_of_ours_alone():
    """Its definition is not among those given, so that what it may say stands here."""
    (storage,) = of_kind(overlay("gpu"), "ClusterStorageContainer").values()
    assert storage.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert storage["spec"].keys() == {"container", "supportedUriFormats"}
    ((pattern,),) = (each.values() for each in storage["spec"]["supportedUriFormats"])
    assert [each.keys() for each in storage["spec"]["supportedUriFormats"]] == [{"regex"}]
    model_dir = f"models/shelf-detector/{'0a' * 32}/"
    for ours in (f"s3://stocktake/{model_dir}", f"s3://shops/north/1/{model_dir}"):
        assert re.search(pattern, ours)
    for theirs in (
        "s3://shops/models/llama/",
        f"s3://shops/{model_dir}onnx/",
        f"s3://x/{'0a' * 32}/",
        "gs://a/",
    ):
        assert not re.search(pattern, theirs)


def test_no_rule_of_kserve_is_broken_and_no_image_moves(objects):
    assert [problem for made in objects for problem in lint(made)] == []


def test_every_pod_may_run_where_pods_are_restricted(objects):
    ours = [made for made in objects if made["metadata"]["name"] != API_SERVER["metadata"]["name"]]
    pods = [pod for made in ours for pod in pod_specs(made)] + [pod for _, pod in predictors(objects)]
    assert [fault for pod in pods for fault in violations(pod)] == []


def test_nothing_is_described_twice(objects):
    names = Counter(
        (made["kind"], made["metadata"].get("namespace"), made["metadata"]["name"]) for made in objects
    )
    assert names.most_common(1)[0][1] == 1
    runtimes = of_kind(objects, "ServingRuntime")
    for service in of_kind(objects, "InferenceService").values():
        predictor = service["spec"]["predictor"]
        (container,) = runtimes[predictor["model"]["runtime"]]["spec"]["containers"]
        assert predictor["model"].keys() & container.keys() <= {"args"}  # which KServe adds up
        assert not predictor.keys() & runtimes[predictor["model"]["runtime"]]["spec"].keys()


def test_images_are_those_of_this_version(objects):
    images = {
        container["image"] for made in objects for container in containers(made) if "image" in container
    }
    assert images - {"api-server:2.17.0"} <= IMAGES


def test_what_deploy_owns_is_left_to_it(objects):
    for service in of_kind(objects, "InferenceService").values():
        spec = service["spec"]
        assert "canary" not in spec
        assert not {"name", "canaryTrafficPercent"} & spec["predictor"].keys()
        assert "storageUri" not in spec["predictor"]["model"]
        assert not any(key.startswith("stocktake.dev/") for key in service["metadata"]["annotations"])


def test_a_predictor_has_the_time_that_it_needs(objects):
    seconds = {field.name: field.default for field in fields(ServerSettings) if "_seconds" in field.name}
    for service, pod in predictors(objects):
        timeout = service["spec"]["predictor"]["timeout"]
        assert timeout > seconds["deadline_seconds"]
        (container,) = pod["containers"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        given = timeout if is_knative(service) else pod["terminationGracePeriodSeconds"]
        assert given > pause + seconds["drain_seconds"] + seconds["grace_seconds"]
        start_s = start_seconds(container)
        assert start_s >= 300
        assert timeout >= start_s or not is_knative(service), "Knative counts what a request waits for a pod"
        assert timeout <= 600, "Knative's max-revision-timeout-seconds"


def start_seconds(container: dict) -> int:
    """How long a predictor may take to start."""
    return container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]


def test_the_container_is_the_predictor_as_it_is(objects):
    for service, pod in predictors(objects):
        (container,) = pod["containers"]
        name, cpus = service["metadata"]["name"], container["resources"]["limits"]["cpu"]
        words = [word.replace("{{.Name}}", name).replace("$(THREADS)", cpus) for word in container["args"]]
        flags = vars(_parser().parse_args(words))
        assert (flags["model_name"], flags["model_dir"], flags["threads"]) == (
            name,
            Path("/mnt/models"),
            int(cpus),
        )
        variables = {entry["name"]: entry["valueFrom"] for entry in container.get("env", [])}
        assert variables in ({}, {"THREADS": {"resourceFieldRef": {"resource": "limits.cpu"}}})
        ports = [port["containerPort"] for port in container["ports"]]
        assert ports == ([8080] if is_knative(service) else [8080, 8081])
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["httpGet"] == {"path": "/v2/models/{{.Name}}/ready", "port": 8080}


def test_all_models_are_served_by_one_account_that_fetches_from_the_store(objects):
    services = of_kind(objects, "InferenceService")
    if not services:
        return
    assert services.keys() == MODELS
    accounts, fetchers = of_kind(objects, "ServiceAccount"), of_kind(objects, "ClusterStorageContainer")
    for service in services.values():
        assert service["spec"]["predictor"]["serviceAccountName"] in accounts
        assert service["spec"]["predictor"]["storageContainerName"] in fetchers


def test_pods_find_what_they_look_for_under_its_name(objects):
    for made in of_kind(objects, "ConfigMap").values():
        if made["metadata"]["name"] == namespace.ENDPOINTS:
            assert made["data"].keys() >= {*namespace.REQUIRED_ENDPOINTS, *namespace.OPTIONAL_ENDPOINTS}
    for made in of_kind(objects, "ClusterStorageContainer").values():
        sources = {entry["name"]: entry["valueFrom"] for entry in made["spec"]["container"]["env"]}
        for key in namespace.S3_KEYS:
            wanted = {"name": namespace.S3_CREDENTIALS, "key": key, "optional": True}
            assert sources.pop(key) == {"secretKeyRef": wanted}
        maps = {source["configMapKeyRef"]["key"] for source in sources.values()}
        assert maps == set(namespace.OPTIONAL_ENDPOINTS)
        assert {source["configMapKeyRef"]["name"] for source in sources.values()} == {namespace.ENDPOINTS}


def test_selectors_find_predictors(objects):
    labels = [made["spec"]["labels"] for made in of_kind(objects, "ServingRuntime").values()]
    for kind in ("NetworkPolicy", "PodMonitor"):
        for made in of_kind(objects, kind).values():
            selector = made["spec"].get("podSelector") or made["spec"]["selector"]
            if made["metadata"]["name"] == "predictors":
                assert all(selector["matchLabels"].items() <= each.items() for each in labels)


def test_each_model_has_a_budget_of_its_own(objects):
    """Pods that do not work count: in one for all, a model without any keeps the nodes of others."""
    budgets = of_kind(objects, "PodDisruptionBudget").values()
    labels = [made["spec"]["labels"] for made in of_kind(objects, "ServingRuntime").values()]
    for name in of_kind(objects, "InferenceService"):
        for pod in ({**each, "serving.kserve.io/inferenceservice": name} for each in labels):
            found = [made for made in budgets if selects(made, pod)]
            assert [made["metadata"]["name"] for made in found] == [name], "two of them would let no pod go"
            rehearsed = pod | {"serving.kserve.io/inferenceservice": rehearsal_name(name)}
            assert not any(selects(made, rehearsed) for made in budgets)
    for made in budgets:
        rest = {key: value for key, value in made["spec"].items() if key != "selector"}
        assert rest == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}


def selects(budget: dict, labels: dict) -> bool:
    return budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_everybody_may_reach_the_store(objects):
    for policy in of_kind(objects, "NetworkPolicy").values():
        store = urlsplit(of_kind(objects, "ConfigMap")[namespace.ENDPOINTS]["data"]["S3_ENDPOINT_URL"])
        assert store.port in {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}


def test_pods_reach_names_and_identities_and_no_other_address_of_their_node(rendered):
    names = {("169.254.20.10/32", 53)}  # of the cache that a node may have for them
    assert link_local(rendered("gpu")) == names
    assert link_local(rendered("pod identity")) == names | {
        ("169.254.170.23/32", 80),
        ("fd00:ec2::23/128", 80),
    }


def link_local(objects: Objects) -> set[tuple[str, int]]:
    """The blocks of addresses that predictors and gateways may ask, with the ports."""
    predictors, gateway = of_kind(objects, "NetworkPolicy").values()
    assert _blocks(predictors) == _blocks(gateway)
    return _blocks(gateway)


def _blocks(policy: dict) -> set[tuple[str, int]]:
    return {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in policy["spec"]["egress"]
        for peer in rule.get("to", [])
        for port in rule["ports"]
        if "ipBlock" in peer
    }


def test_credentials_are_in_no_overlay(objects):
    assert not of_kind(objects, "Secret")
    assert "SecretAccessKey" not in str(of_kind(objects, "ConfigMap"))


def test_the_namespace_takes_restricted_pods_and_is_watched_by_katib():
    labels = of_kind(overlay("gpu"), "Namespace")["stocktake"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["katib.kubeflow.org/metrics-collector-injection"] == "enabled"
    assert "app.kubernetes.io/part-of" not in labels  # which is another in a namespace of Kubeflow's profiles


@pytest.mark.parametrize("made_here", [True, False])
def test_the_namespace_is_said_once_and_may_be_another(made_here, tmp_path):
    copied = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    path = copied / "namespace/kustomization.yaml"
    text = path.read_text().replace("namespace: stocktake\n", "namespace: shops\n")
    path.write_text(text if made_here else text.replace("  - namespace.yaml\n", ""))
    objects = render_with(tmp_path, ["manifests/overlays/gpu"], ["manifests/components/quota"])
    assert of_kind(objects, "Namespace").keys() == ({"shops"} if made_here else set())
    namespaces = {made["metadata"].get("namespace", made["metadata"]["name"]) for made in objects}
    assert namespaces == {"shops", *of_kind(objects, "ClusterStorageContainer")}
    queries = re.findall(r'namespace=\W*"(\w+)', json.dumps(objects))
    assert len(queries) == 6
    assert set(queries) == {"shops"}


def test_pipelines_find_the_predictors(rendered):
    for name in ("gpu", "kubeflow"):
        endpoints = of_kind(rendered(name), "ConfigMap")[namespace.ENDPOINTS]["data"]
        assert endpoints[namespace.SERVING_NAMESPACE] in of_kind(rendered("gpu"), "Namespace")


def test_each_endpoint_is_written_once():
    written = {path: path.read_text() for path in MANIFESTS.rglob("*") if path.is_file()}
    endpoints = written.pop(MANIFESTS / "pipelines/endpoints.env")
    for line in endpoints.splitlines():
        key, _, value = line.partition("=")
        if (
            key == namespace.SERVING_NAMESPACE
        ):  # no endpoint: the name of the namespace that all objects are in
            continue
        said = value.removeprefix("http://")
        assert [str(path) for path, text in written.items() if said in text] == [], key


def test_the_list_of_images_is_one():
    holders = [
        path for path in MANIFESTS.rglob("*.yaml") if re.search(r"newTag:|image: \S+:", path.read_text())
    ]
    assert holders == [MANIFESTS / "base/kustomization.yaml"]


@pytest.mark.parametrize("name", ["gpu", "knative-gpu"])
def test_gpus_are_asked_for_and_found(name):
    for _, pod in predictors(overlay(name)):
        (container,) = pod["containers"]
        assert container["image"] in {image for image in IMAGES if "gpu" in image}
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def test_no_rollout_waits_for_a_spare_gpu():
    """Nor does one end all pods at a time that an autoscaler has added."""
    one_by_one = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    for service in of_kind(overlay("gpu"), "InferenceService").values():
        assert service["spec"]["predictor"]["deploymentStrategy"] == one_by_one


def test_slices_take_the_place_of_gpus(rendered):
    for _, pod in predictors(rendered("mig")):
        resources = pod["containers"][0]["resources"]
        for kind in ("limits", "requests"):
            assert "nvidia.com/gpu" not in resources[kind]
            assert resources[kind]["nvidia.com/mig-1g.18gb"] == "1"


@pytest.mark.parametrize("make", [whole_gpus, slices])
def test_a_quota_counts_what_predictors_ask_for_and_lets_them_grow(make, tmp_path):
    objects, asked = make(tmp_path), Counter()
    for service, pod in predictors(objects):
        for resource, quantity in pod["containers"][0]["resources"]["requests"].items():
            each = int(parse_quantity(quantity))
            asked[f"requests.{resource}"] += service["spec"]["predictor"]["maxReplicas"] * each
    (quota,) = of_kind(objects, "ResourceQuota").values()
    assert asked.keys() <= quota["spec"]["hard"].keys()  # what it does not name it does not limit
    assert [
        name for name, wanted in asked.items() if wanted > parse_quantity(quota["spec"]["hard"][name])
    ] == []


def test_keda_asks_for_the_photos_of_each_model():
    objects = overlay("gpu")
    for name, service in of_kind(objects, "InferenceService").items():
        (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
        asked = metric["external"]["metric"]
        labels = f'namespace="stocktake",model="{name}"'
        assert asked["query"] == f'sum({{__name__=~"stocktake_photos_(waiting|working)",{labels}}})'
        assert asked["serverAddress"] == of_kind(objects, "ConfigMap")["endpoints"]["data"]["PROMETHEUS_URL"]


@pytest.mark.parametrize(("name", "target"), [("knative", 1), ("knative-gpu", 2)])
def test_knative_scales_to_zero(name, target):
    for service, _ in predictors(overlay(name)):
        predictor = service["spec"]["predictor"]
        assert (predictor["minReplicas"], predictor["scaleMetric"]) == (0, "concurrency")
        assert predictor["scaleTarget"] == target


def test_kubeflow_pipelines_names_no_mlflow(rendered):
    objects = rendered("kubeflow")
    (name,) = (name for name in of_kind(objects, "ConfigMap") if name.startswith("ml-pipeline-config"))
    config = yaml.safe_load(of_kind(objects, "ConfigMap")[name]["data"]["config.json"])
    assert "plugins" not in config
    assert config["InitConnectionTimeout"]
    pod = of_kind(objects, "Deployment")["ml-pipeline"]["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "config", "configMap": {"name": name}}]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount == {"name": "config", "mountPath": "/config/config.json", "subPath": "config.json"}
