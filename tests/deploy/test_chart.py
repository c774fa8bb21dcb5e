"""What the chart of the platform renders, in every profile."""

import re

import pytest
import yaml
from helm_python import lint

from stocktake.cluster import namespace
from tests.kubernetes_schemas import validate
from tests.kustomize import MANIFESTS, of_kind, overlay
from tests.platform_chart import CHART, NAMESPACE, PROFILES, RELEASE, chart, find, pods, profile, render
from tests.pods import all_containers, violations


@pytest.fixture(params=PROFILES)
def objects(request):
    return render(profile(request.param))


def test_every_object_fits_the_schemas_of_kubernetes(objects):
    assert [fault for each in objects for fault in validate(each)] == []


def test_a_route_of_the_gateway_api_fits_its_definition():
    values = profile(
        "external",
        mlflow__ingress={},
        mlflow__httpRoute={"enabled": True, "parentRefs": [{"name": "public"}]},
    )
    route = find(render(values), "HTTPRoute", "mlflow")
    assert validate(route) == []
    assert route["spec"]["hostnames"] == ["mlflow.example.com"]


@pytest.mark.parametrize("values", [None, *map(profile, PROFILES)], ids=["defaults", *PROFILES])
def test_helm_has_no_fault_to_find(values):
    report = lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


def test_every_pod_passes_the_restricted_standard_and_more(objects):
    assert len(pods(objects)) >= 3
    for holder, pod in pods(objects):
        spec = pod["spec"]
        assert violations(spec) == [], holder
        assert spec["securityContext"]["runAsUser"] > 0, holder
        assert not spec["automountServiceAccountToken"], holder
        assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in all_containers(spec)), holder


def test_every_container_says_what_it_needs_and_which_image(objects):
    for holder, pod in pods(objects):
        for container in all_containers(pod["spec"]):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), holder
            assert "memory" in resources["limits"], holder
            _, _, tag = container["image"].rpartition(":")
            assert tag[0] in "v0123456789", container["image"]


def test_every_server_is_probed(objects):
    servers = [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
    for server in servers:
        for container in server["spec"]["template"]["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_selectors_find_the_pods_of_one_component(objects):
    labels = {holder: pod["metadata"]["labels"] for holder, pod in pods(objects)}
    selectors = {
        f"{each['kind']}/{each['metadata']['name']}": each["spec"].get("selector")
        or each["spec"].get("podSelector")
        for each in objects
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet")
    }
    for owner, selector in selectors.items():
        wanted = selector.get("matchLabels", selector).items()
        found = [holder for holder, given in labels.items() if wanted <= given.items()]
        assert [holder.partition("/")[2] for holder in found] == [owner.partition("/")[2]], owner


def test_no_credentials_are_written_down(objects):
    secrets = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "Secret"}
    for holder, pod in pods(objects):
        for container in all_containers(pod["spec"]):
            for entry in container.get("env", []):
                if "PASSWORD" in entry["name"] or "SECRET" in entry["name"] or entry["name"].endswith("AUTH"):
                    assert entry["valueFrom"]["secretKeyRef"].keys() == {"name", "key"}, holder
    everything = yaml.safe_dump([each for each in objects if each["kind"] != "Secret"])
    for data in secrets.values():
        assert not any(value in everything for value in data.values())


def test_only_the_demonstration_makes_secrets_and_no_two_are_alike():
    for name in PROFILES[:-1]:
        assert "Secret" not in {each["kind"] for each in render(profile(name))}
    made = [each for _ in range(2) for each in render(profile("demo")) if each["kind"] == "Secret"]
    values = [value for each in made for value in each["data"].values()]
    assert len(values) == 10
    assert len(set(values)) == 10


@pytest.mark.parametrize("name", PROFILES)
def test_the_store_has_one_key_for_all_who_ask_it(name):
    """That of the platform is the one that predictors and pipelines look for."""
    objects = render(profile(name))
    entries = [
        entry
        for _, pod in pods(objects)
        for container in all_containers(pod["spec"])
        for entry in container.get("env", [])
    ]
    asked = [entry["valueFrom"]["secretKeyRef"] for entry in entries if entry["name"] in namespace.S3_KEYS]
    assert {(each["name"], each["key"]) for each in asked} == {
        (namespace.S3_CREDENTIALS, key) for key in namespace.S3_KEYS
    }
    made = {each["metadata"]["name"]: each["data"].keys() for each in objects if each["kind"] == "Secret"}
    assert made.get(namespace.S3_CREDENTIALS, set()) == (set(namespace.S3_KEYS) if name == "demo" else set())


@pytest.mark.parametrize("name", ["in-cluster", "demo"])
def test_what_helm_says_of_the_release_is_what_the_manifests_say(name):
    notes = next(
        text
        for path, text in chart().render(profile(name), name=RELEASE, namespace=NAMESPACE).items()
        if path.endswith("NOTES.txt")
    )
    printed = dict(re.findall(r"^  (\w+)=(\S+)$", notes, re.MULTILINE))
    endpoints = (MANIFESTS / "pipelines/endpoints.env").read_text().splitlines()
    said = dict(line.split("=", 1) for line in endpoints)
    assert {*namespace.REQUIRED_ENDPOINTS, *namespace.OPTIONAL_ENDPOINTS, "REDIS_URL"} <= printed.keys()
    assert "GATEWAY_DATABASE" in printed
    both = printed.keys() & said.keys()
    assert {key: printed[key] for key in both} == {key: said[key] for key in both}


def test_what_is_off_leaves_nothing_behind():
    off = {"enabled": False}
    assert render({"mlflow": off, "objectStore": off, "redis": off}) == []


def test_own_servers_take_the_place_of_ours():
    names = {each["metadata"]["name"] for each in render(profile("external"))}
    assert not {"platform-postgresql", "platform-object-store", "platform-redis"} & names
    kubeflow = {each["metadata"]["name"] for each in render(profile("kubeflow"))}
    assert "platform-object-store" not in kubeflow
    assert {"platform-postgresql", "platform-redis"} <= kubeflow


def test_pods_with_an_identity_read_no_credentials():
    values = profile(
        "external", objectStore__existingSecret="", objectStore__podIdentity=True, objectStore__endpoint=""
    )
    objects = render(values)
    names = [
        entry["name"]
        for _, pod in pods(objects)
        for container in pod["spec"]["containers"]
        for entry in container["env"]
    ]
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"} & set(names)
    accounts = {pod["spec"].get("serviceAccountName") for _, pod in pods(objects)}
    assert "platform-s3-client" in accounts


def test_a_private_authority_reaches_everything_that_asks_the_store():
    objects = render(profile("external", objectStore__caConfigMap="company-ca"))
    for name in ("Deployment/platform-mlflow", "Job/platform-buckets", "Pod/platform-test-object-store"):
        spec = dict(pods(objects))[name]["spec"]
        assert {"name": "ca", "configMap": {"name": "company-ca"}} in spec["volumes"]
        assert {"name": "AWS_CA_BUNDLE", "value": "/ca/ca.crt"} in spec["containers"][0]["env"]


def test_an_image_goes_by_digest_and_by_mirror():
    digest = "sha256:" + "a" * 64
    values = profile(
        "in-cluster", imageRegistry="mirror.example.com", redis__image={"tag": "", "digest": digest}
    )
    images = {
        container["image"] for _, pod in pods(render(values)) for container in pod["spec"]["containers"]
    }
    assert all(image.startswith("mirror.example.com/") for image in images)
    assert f"mirror.example.com/library/redis@{digest}" in images


def test_only_mlflow_and_the_gateway_reach_the_database():
    policy = find(render(profile("kubeflow")), "NetworkPolicy", "postgresql")["spec"]
    (rule,) = policy["ingress"]
    selected = [each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in rule["from"]]
    assert selected == ["mlflow", "gateway", "gateway"]
    gateway = of_kind(overlay("gpu"), "NetworkPolicy")["gateway"]["spec"]["podSelector"]["matchLabels"]
    assert rule["from"][1] == {"podSelector": {"matchLabels": gateway}}
    clients = find(render(profile("kubeflow")), "NetworkPolicy", "mlflow")["spec"]["ingress"][0]["from"]
    assert clients[1]["namespaceSelector"]["matchExpressions"][0]["values"] == ["kubeflow"]
    assert rule["from"][2] == {"podSelector": {"matchLabels": gateway}} | clients[1]


def test_the_way_to_the_gateways_database_on_an_old_volume_is_there():
    page = (CHART / "README.md").read_text()
    script = re.search(r"psql .* --file (\S+)", page)[1]
    container = find(render(profile("in-cluster")), "StatefulSet", "postgresql")["spec"]["template"]["spec"]
    (mount,) = [each for each in container["containers"][0]["volumeMounts"] if each["name"] == "databases"]
    scripts = find(render(profile("in-cluster")), "ConfigMap", "postgresql")["data"]
    assert script in {f"{mount['mountPath']}/{name}" for name in scripts}
    secret = re.search(r"--set postgresql.gateway.existingSecret=(\S+)", page)[1]
    assert profile("in-cluster")["postgresql"]["gateway"]["existingSecret"] == secret


def test_the_schema_changes_only_when_no_old_server_runs():
    plain = find(render(profile("in-cluster")), "Deployment", "mlflow")["spec"]
    upgrade = find(render(profile("in-cluster", mlflow__database__upgrade=True)), "Deployment", "mlflow")[
        "spec"
    ]
    assert plain["strategy"]["type"] == "RollingUpdate"
    assert upgrade["strategy"] == {"type": "Recreate"}


def test_a_budget_comes_with_the_second_server():
    kinds = [each["kind"] for each in render(profile("in-cluster"))]
    assert "PodDisruptionBudget" not in kinds
    find(render(profile("in-cluster", mlflow__replicas=2)), "PodDisruptionBudget", "mlflow")
