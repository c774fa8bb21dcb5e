"""Alerts fire for what they are for, and whatever is asked of Prometheus is what our programs export."""

import inspect
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from serving.gateway import metrics as gateway_metrics
from serving.gateway.settings import load_gateway_settings
from serving.gateway.worker_metrics import WorkerMetrics
from serving.predictors import metrics
from tests.kustomize import of_kind, overlay
from tests.programs import ROOT, need

TESTS = Path(__file__).with_name("alerts.yaml")
OF_TARGETS = {
    "namespace",
    "pod",
    "job",
    "inferenceservice",
}  # labels that Prometheus gives, not the predictor
SAMPLES = {
    "counter": ["_total"],
    "histogram": ["_bucket", "_sum", "_count"],
    "gauge": [""],
    "info": ["_info"],
}


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The labels of each sample that predictors, gateways and workers export, by its name."""
    labels: dict[str, set[str]] = {}
    predictors = (*vars(metrics).values(), *metrics.STAGE_SECONDS.values())
    for metric in (*predictors, *vars(gateway_metrics).values(), *vars(WorkerMetrics()).values()):
        if isinstance(metric, MetricWrapperBase):
            labels |= {f"{metric._name}{end}": set(metric._labelnames) for end in SAMPLES[metric._type]}
    labels["stocktake_model_info"] |= inspect.signature(metrics.model_loaded).parameters.keys()
    return labels


def rules() -> list[dict]:
    groups = [
        group
        for made in of_kind(overlay("gpu"), "PrometheusRule").values()
        for group in made["spec"]["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict:
    (text,) = of_kind(overlay("gpu"), "ConfigMap")["stocktake-dashboard"]["data"].values()
    return json.loads(text)


def autoscaling_queries() -> list[str]:
    services = of_kind(overlay("gpu"), "InferenceService").values()
    scaling = [metric for made in services for metric in made["spec"]["predictor"]["autoScaling"]["metrics"]]
    workers = of_kind(overlay("gpu"), "ScaledObject").values()
    triggers = [trigger["metadata"]["query"] for made in workers for trigger in made["spec"]["triggers"]]
    return [metric["external"]["metric"]["query"] for metric in scaling] + triggers


def test_alerts_fire_for_what_they_are_for_and_for_nothing_else(tmp_path):
    promtool = need("promtool")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules()}]}))
    cases = yaml.safe_load(TESTS.read_text())
    for test in (test for case in cases["tests"] for test in case.get("promql_expr_test", [])):
        test["expr"] = next(query for query in autoscaling_queries() if test["expr"] in query)
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(cases))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_in_the_docs():
    alerts = {rule["alert"] for rule in rules()}
    cases = [
        check
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for check in case.get("alert_rule_test", [])
    ]
    assert {check["alertname"] for check in cases if check.get("exp_alerts")} == alerts
    docs = (ROOT / "docs/monitoring.md").read_text()
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", docs, re.MULTILINE)) == alerts


def queries() -> dict[str, str]:
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard()["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    found |= {variable["name"]: str(variable["query"]) for variable in dashboard()["templating"]["list"]}
    return found | {f"KEDA {number}": query for number, query in enumerate(autoscaling_queries())}


def test_all_that_is_asked_for_is_exported(exported):
    asked = queries()
    named = {name for query in asked.values() for name in re.findall(r"\bstocktake_\w+", query)}
    assert named - {"stocktake_photos_"} <= exported.keys()  # what KEDA asks for is a pattern, see below
    for what, query in asked.items():
        names = re.findall(r"\bstocktake_\w+", query) + [
            f"stocktake_photos_{end}" for end in ("waiting", "working")
        ]
        labels = set().union(*(exported.get(name, set()) for name in names)) | OF_TARGETS | {"le", "__name__"}
        used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query))
        used |= {word.strip() for words in re.findall(r"by \(([^)]*)\)", query) for word in words.split(",")}
        assert used <= labels, what


def test_what_the_autoscaler_asks_for_is_exported(exported):
    *of_models, of_workers = autoscaling_queries()
    assert re.match(r"max\((\w+)\{", of_workers)[1] in exported
    for query in of_models:
        pattern = re.search(r'__name__=~"([^"]+)"', query)[1]
        assert len([name for name in exported if re.fullmatch(pattern, name)]) == 2


def test_drift_is_told_where_training_would_be_started():
    alert = queries()["CamerasDrift"]
    cameras = load_gateway_settings().retrain_cameras
    assert alert.endswith(f">= {cameras}")


def test_the_dashboard_is_one_that_grafana_takes():
    made = dashboard()
    assert made["uid"] == "stocktake"
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]}
    assert len(places) == len(made["panels"])
    variables = {variable["name"] for variable in made["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(made["panels"]))) <= variables
    labels = of_kind(overlay("gpu"), "ConfigMap")["stocktake-dashboard"]["metadata"]["labels"]
    assert labels["grafana_dashboard"] == "1"
