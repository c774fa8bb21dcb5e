"""Gateway, worker and expiry on a cluster: as the programs are, and as each other."""

import math
import re
import shutil
from urllib.parse import urlsplit

import pytest
import yaml

from serving.gateway.__main__ import _parser
from serving.gateway.app import GRACE_S
from serving.gateway.predictors import CONNECT_S, WAKING
from serving.gateway.records.database import MORE, POOL
from serving.gateway.records.tables import Task
from serving.gateway.settings import GatewaySettings, load_gateway_settings
from serving.gateway.worker import GRACE_S as WORKER_GRACE_S
from stocktake.cluster import namespace
from stocktake.cluster.workload import deployment_name
from stocktake.settings import Settings
from tests import platform_chart
from tests.kubernetes_schemas import validate
from tests.kustomize import MANIFESTS, OVERLAYS, Objects, of_kind, overlay, render, render_with
from tests.pods import pod_specs
from tests.programs import ROOT

PODS = {"Deployment/gateway", "Deployment/gateway-worker", "CronJob/gateway-expire"}
OF_MLFLOW = 2 * 15  # connections: tracking and registry have a pool each, of SQLAlchemy's default size
FOR_SUPERUSERS = 3  # connections that PostgreSQL keeps back
VERBS = {"gateway": "serve", "worker": "worker", "expire": "expire"}
OTHERS = {"NAMESPACE", "REDIS_PASSWORD", "PGPASSWORD", "STOCKTAKE_STORE"}  # parts, and what PostgreSQL reads
SECRETS = {namespace.S3_CREDENTIALS, namespace.PREDICTOR_SECRET, "platform-gateway", "platform-redis"}
PREFIX = "STOCKTAKE_GATEWAY_"


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request) -> Objects:
    return overlay(request.param)


def pods(objects: Objects) -> dict[str, dict]:
    """The pods of gateway, worker and expiry, by what makes them."""
    makers = [each for each in objects if f"{each['kind']}/{each['metadata']['name']}" in PODS]
    return {f"{each['kind']}/{each['metadata']['name']}": next(pod_specs(each)) for each in makers}


def containers(objects: Objects) -> dict[str, dict]:
    found = [container for pod in pods(objects).values() for container in pod["containers"]]
    return {container["name"]: container for container in found}


def labels(objects: Objects) -> list[dict]:
    made = [each for each in objects if f"{each['kind']}/{each['metadata']['name']}" in PODS]
    specs = [each["spec"].get("jobTemplate", each)["spec"] for each in made]
    return [spec["template"]["metadata"]["labels"] for spec in specs]


def test_the_programs_understand_their_flags_and_are_probed_where_they_listen(objects):
    found = containers(objects)
    assert found.keys() == VERBS.keys()
    for name, container in found.items():
        flags = _parser().parse_args(container["args"])
        assert flags.verb == VERBS[name]
        if name == "expire":
            continue
        (port,) = container["ports"]
        assert (flags.host, flags.port) == ("0.0.0.0", port["containerPort"])
        assert all(
            container[probe]["httpGet"]["port"] == port["name"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        )


def test_every_variable_is_a_setting(objects):
    """A name that nobody reads says nothing, and the default holds."""
    settings = {f"{PREFIX}{field}".upper() for field in GatewaySettings.model_fields}
    settings |= {field.upper() for field in Settings.model_fields} | set(namespace.S3_KEYS)
    for container in containers(objects).values():
        names = [entry["name"] for entry in container["env"]]
        assert len(set(names)) == len(names)
        assert set(names) - OTHERS - settings == set()


def test_worker_and_expiry_are_as_the_gateway_is(objects):
    found = containers(objects)
    of_knative = {f"{PREFIX}DRIFT_EVERY_S", f"{PREFIX}DEADLINE_S"}
    for name in ("worker", "expire"):
        ours = [entry for entry in found[name]["env"] if entry["name"] not in of_knative]
        assert ours == found["gateway"]["env"]
        for field in ("image", "envFrom", "securityContext"):
            assert found[name][field] == found["gateway"][field]
    contexts = [pod["securityContext"] for pod in pods(objects).values()]
    assert contexts == contexts[:1] * 3
    assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in found.values())


def test_what_is_asked_for_is_in_the_namespace(objects):
    names = of_kind(objects, "ConfigMap")[namespace.ENDPOINTS]["data"]
    for entry in containers(objects)["gateway"]["env"]:
        source = entry.get("valueFrom", {})
        if reference := source.get("configMapKeyRef"):
            assert (reference["name"], reference["key"] in names) == (namespace.ENDPOINTS, True)
        if reference := source.get("secretKeyRef"):
            assert reference["name"] in SECRETS
    accounts = of_kind(objects, "ServiceAccount")
    for pod in pods(objects).values():
        assert accounts[pod["serviceAccountName"]]["automountServiceAccountToken"] is False


def test_every_secret_without_which_no_pod_starts_is_in_the_guide(objects):
    pod = pods(objects)["Deployment/gateway"]
    sources = [entry.get("valueFrom", {}).get("secretKeyRef", {}) for entry in pod["containers"][0]["env"]]
    needed = {source["name"] for source in sources if source and not source.get("optional")}
    needed |= {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    made = re.findall(r"-n stocktake create secret generic (\S+)", (ROOT / "docs/install.md").read_text())
    assert {"gateway-tokens", "platform-gateway", "platform-redis"} == needed
    assert needed <= set(made)


def test_the_overlay_of_ones_own_in_the_guide_is_one(tmp_path):
    guide = (ROOT / "docs/install.md").read_text()
    (text,) = re.findall(r"shops/kustomization\.yaml <<'YAML'\n(.*?)^YAML$", guide, re.DOTALL | re.MULTILINE)
    (tmp_path / "shops").mkdir()
    (tmp_path / "shops/kustomization.yaml").write_text(text)
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    route = of_kind(render(tmp_path / "shops"), "HTTPRoute")["gateway"]
    assert route["spec"]["hostnames"] == ["stocktake.shops.example.org"]


def test_no_database_is_a_file_of_one_pod(objects):
    endpoints = of_kind(objects, "ConfigMap")[namespace.ENDPOINTS]["data"]
    assert endpoints["GATEWAY_DATABASE"].startswith("postgresql+psycopg://")
    assert ":" not in urlsplit(endpoints["GATEWAY_DATABASE"]).netloc.split("@")[0], "no password"
    assert endpoints["STOCKTAKE_STORE"].startswith("s3://")


def test_it_asks_the_services_of_our_predictors(objects):
    urls = {entry["name"]: entry.get("value") for entry in containers(objects)["worker"]["env"]}
    settings = load_gateway_settings()
    for task, model in (("SHELVES", settings.shelves_model), ("BINS", settings.bins_model)):
        assert model in of_kind(objects, "InferenceService")
        assert urls[f"{PREFIX}{task}_URL"] == f"http://{deployment_name(model, '')}.$(NAMESPACE)"


def test_no_deploy_renames_the_service_that_is_asked(objects):
    """KServe names it after the predictor where that is a canary that was promoted, not exchanged."""
    for service in of_kind(objects, "InferenceService").values():
        notes = service["metadata"]["annotations"]
        assert notes.get("serving.kserve.io/autoscalerClass") != "none"


def test_pods_have_the_time_that_they_need(objects):
    found = pods(objects)
    pause = found["Deployment/gateway"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert found["Deployment/gateway"]["terminationGracePeriodSeconds"] > pause + GRACE_S
    said = {entry["name"]: entry.get("value") for entry in containers(objects)["worker"]["env"]}
    at_work = float(said.get(f"{PREFIX}DEADLINE_S", load_gateway_settings().deadline_s)) + WORKER_GRACE_S
    assert found["Deployment/gateway-worker"]["terminationGracePeriodSeconds"] > at_work
    probe = found["Deployment/gateway"]["containers"][0]["readinessProbe"]
    assert probe["timeoutSeconds"] > CONNECT_S * len(Task), "predictors are asked one after the other"


def test_nobody_waits_longer_for_a_predictor_that_wakes_than_knative_does():
    made = overlay("knative")
    waiting = {entry["name"]: entry.get("value") for entry in containers(made)["worker"]["env"]}
    for service in of_kind(made, "InferenceService").values():
        timeout = service["spec"]["predictor"]["timeout"]
        assert timeout > float(waiting[f"{PREFIX}DEADLINE_S"])
        assert timeout >= WAKING.total


def test_nothing_wakes_a_predictor_that_sleeps():
    probed = containers(overlay("knative"))["gateway"]["readinessProbe"]["httpGet"]["path"]
    assert probed == "/healthz"
    assert containers(overlay("gpu"))["gateway"]["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_selectors_find_the_pods_they_are_for(objects):
    server, worker, expire = (each["app.kubernetes.io/component"] for each in labels(objects))
    assert (server, worker, expire) == ("server", "worker", "expire")
    wanted = {
        "Deployment/gateway": {server}, "Deployment/gateway-worker": {worker}, "Service/gateway": {server},
        "PodDisruptionBudget/gateway": {server, worker}, "NetworkPolicy/gateway": {server, worker, expire},
        "PodMonitor/gateway": {server, worker, expire},
    }  # fmt: skip
    for made in objects:
        name = f"{made['kind']}/{made['metadata']['name']}"
        if name in wanted:
            selector = made["spec"].get("podSelector") or made["spec"]["selector"]
            found = [each for each in labels(objects) if selected(selector, each)]
            assert {each["app.kubernetes.io/component"] for each in found} == wanted[name], name


def selected(selector: dict, found: dict) -> bool:
    parts = selector.get("matchExpressions", [])
    equal = selector.get("matchLabels", {} if parts else selector)
    return equal.items() <= found.items() and all(found.get(each["key"]) in each["values"] for each in parts)


def test_the_policy_lets_it_reach_what_it_is_told_of(objects):
    policy = of_kind(objects, "NetworkPolicy")["gateway"]["spec"]
    open_ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    endpoints = of_kind(objects, "ConfigMap")[namespace.ENDPOINTS]["data"]
    told = {urlsplit(endpoints[key]).port for key in ("GATEWAY_DATABASE", "REDIS_URL", "S3_ENDPOINT_URL")}
    assert told | {53, 8080} <= open_ports
    assert 80 not in open_ports, "metadata of clouds"
    entered = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert entered == {8000, 9090}


def test_postgresql_has_a_connection_for_everybody_in_a_rollout():
    made, chart = overlay("gpu"), platform_chart.render(platform_chart.profile("in-cluster"))
    gateways = of_kind(made, "Deployment")["gateway"]["spec"]["replicas"] + 1
    workers = math.ceil(of_kind(made, "ScaledObject")["gateway-worker"]["spec"]["maxReplicaCount"] * 1.25)
    ours = (gateways + workers + len(["expire"])) * (POOL + MORE)
    (mlflow,) = platform_chart.find(chart, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    (processes,) = [int(each.split("=")[1]) for each in mlflow["args"] if each.startswith("--workers=")]
    theirs = processes * OF_MLFLOW * 2  # one server goes when its successor is ready
    postgresql = platform_chart.find(chart, "StatefulSet", "postgresql")["spec"]["template"]["spec"]
    (most,) = [int(each.split("=")[1]) for each in postgresql["containers"][0]["args"] if "=" in each]
    assert ours <= 100 - FOR_SUPERUSERS, "PostgreSQL's default, where the gateway has a server of its own"
    assert ours + theirs <= most - FOR_SUPERUSERS


def test_workers_are_scaled_by_one_only():
    scaled = of_kind(overlay("gpu"), "ScaledObject")["gateway-worker"]
    target = of_kind(overlay("gpu"), "Deployment")[scaled["spec"]["scaleTargetRef"]["name"]]
    assert "replicas" not in target["spec"], "each apply would set it back"
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["query"] == 'max(stocktake_queue_photos{namespace="stocktake"})'
    endpoints = of_kind(overlay("gpu"), "ConfigMap")[namespace.ENDPOINTS]["data"]
    assert trigger["metadata"]["serverAddress"] == endpoints["PROMETHEUS_URL"]
    assert int(trigger["metadata"]["threshold"]) >= load_gateway_settings().photos_in_flight
    assert of_kind(overlay("local"), "Deployment")["gateway-worker"]["spec"]["replicas"] == 1


def test_all_that_is_left_of_us_is_taken_away(tmp_path, objects):
    """The commands of the guide, which go by label, before the last, which takes the namespace."""
    guide = (ROOT / "docs/install.md").read_text().split("## Uninstall")[1]
    commands = re.findall(r"^kubectl -n stocktake delete (\S+) --selector (\S+)$", guide, re.MULTILINE)
    kinds = {kind.split(".")[0] for listed, _ in commands for kind in listed.split(",")}
    way = of_kind(render_with(tmp_path, ["overlays/gpu"], ["components/gateway-route"]), "HTTPRoute").values()
    for made in (*objects, *way):
        plural = made["kind"].lower().removesuffix("y") + ("ies" if made["kind"].endswith("y") else "s")
        harmless = {"namespaces", "serviceaccounts", "roles", "rolebindings", "clusterstoragecontainers"}
        assert plural in kinds | harmless, made["kind"]
        if plural in kinds:
            assert made["metadata"]["labels"]["app.kubernetes.io/part-of"] == "stocktake", made["metadata"]


def test_the_way_from_outside_leads_to_the_gateway_and_not_to_its_figures(tmp_path):
    objects = render_with(tmp_path, ["overlays/gpu"], ["components/gateway-route"])
    route = of_kind(objects, "HTTPRoute")["gateway"]
    assert validate(route) == []
    assert route["metadata"]["namespace"] == "stocktake"
    (parent,) = route["spec"]["parentRefs"]
    guide = (ROOT / "docs/install.md").read_text()
    documents = yaml.safe_load_all(re.search(r"(apiVersion: gateway.*?)^YAML$", guide, re.DOTALL | re.M)[1])
    gateway = of_kind(list(documents), "Gateway")[parent["name"]]
    assert validate(gateway) == []
    (listener,) = [each for each in gateway["spec"]["listeners"] if each["name"] == parent["sectionName"]]
    (certificate,) = listener["tls"]["certificateRefs"]
    assert (gateway["metadata"]["namespace"], listener["protocol"]) == (parent["namespace"], "HTTPS")
    assert f"-n kserve create secret tls {certificate['name']} " in guide
    closed, opened = route["spec"]["rules"]
    assert {match["path"]["value"] for match in closed["matches"]} == {"/metrics", "/readyz", "/healthz"}
    assert "backendRefs" not in closed
    (backend,) = opened["backendRefs"]
    (port,) = of_kind(objects, "Service")[backend["name"]]["spec"]["ports"]
    assert backend["port"] == port["port"]
    assert _parser().parse_args(containers(objects)["gateway"]["args"]).proxies == "*"
