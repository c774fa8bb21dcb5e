"""Helm installs the chart into a real API server, or says beforehand what is missing there."""

import secrets

import pytest
from helm_python import Config, HelmError

from stocktake.cluster.api import Kind
from stocktake.cluster.connection import connect
from tests.platform_chart import RELEASE, chart, profile

SECRET, CONFIG_MAP = Kind("v1", "Secret"), Kind("v1", "ConfigMap")
DEPLOYMENT, STATEFUL_SET = Kind("apps/v1", "Deployment"), Kind("apps/v1", "StatefulSet")
NO_JOB = {"objectStore__createBuckets": False}  # a hook that Helm would wait for, and no node runs it


@pytest.fixture
def cluster(bare_kube_api, monkeypatch):
    """Our own client in a new namespace."""
    namespace = f"test-{secrets.token_hex(4)}"
    monkeypatch.setenv("KUBECONFIG", str(bare_kube_api.kubeconfig(namespace=namespace)))
    cluster = connect(namespace)
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return cluster


@pytest.fixture
def helm(bare_kube_api, cluster):
    with Config(
        kubeconfig_path=bare_kube_api.kubeconfig(namespace=cluster.namespace), namespace=cluster.namespace
    ) as config:
        yield config


def make_secret(cluster, name, *keys):
    data = dict.fromkeys(keys, "secret")
    metadata = {"name": name, "namespace": cluster.namespace}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def test_a_secret_that_is_missing_stops_the_installation_before_anything_is_made(helm, cluster):
    make_secret(cluster, "platform-postgresql", "password")
    make_secret(cluster, "platform-gateway", "password")
    make_secret(cluster, "platform-redis", "pass")
    with pytest.raises(HelmError) as refused:
        helm.install(chart(), RELEASE, profile("in-cluster"), namespace=cluster.namespace)
    lines = str(refused.value)
    assert "Secret s3-credentials of objectStore.existingSecret has no key AWS_ACCESS_KEY_ID" in lines
    assert "Secret platform-redis of redis.existingSecret has no key password" in lines
    assert f"kubectl --namespace {cluster.namespace} create secret generic platform-redis" in lines
    assert "platform-postgresql" not in lines
    assert cluster.list(STATEFUL_SET) + cluster.list(DEPLOYMENT) + cluster.list(CONFIG_MAP) == []


def test_the_api_takes_every_object(helm, cluster):
    make_secret(cluster, "platform-postgresql", "password")
    make_secret(cluster, "platform-gateway", "password")
    make_secret(cluster, "platform-redis", "password")
    make_secret(cluster, "s3-credentials", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    helm.install(chart(), RELEASE, profile("in-cluster", **NO_JOB), namespace=cluster.namespace)
    helm.upgrade(
        chart(), RELEASE, profile("in-cluster", **NO_JOB, mlflow__replicas=2), namespace=cluster.namespace
    )
    assert {each["metadata"]["name"] for each in cluster.list(STATEFUL_SET)} == {
        "platform-postgresql",
        "platform-object-store",
        "platform-redis",
    }
    assert cluster.get(DEPLOYMENT, "platform-mlflow")["spec"]["replicas"] == 2


def test_generated_passwords_outlive_an_upgrade(helm, cluster):
    helm.install(chart(), RELEASE, profile("demo", **NO_JOB), namespace=cluster.namespace)
    first = {
        each["metadata"]["name"]: each["data"] for each in cluster.list(SECRET, "app.kubernetes.io/name")
    }
    helm.upgrade(chart(), RELEASE, profile("demo", **NO_JOB), namespace=cluster.namespace)
    again = {
        each["metadata"]["name"]: each["data"] for each in cluster.list(SECRET, "app.kubernetes.io/name")
    }
    assert len(first) == 4
    assert again == first
