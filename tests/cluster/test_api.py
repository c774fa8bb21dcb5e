"""The Kubernetes API as we ask it, against a real one."""

import pytest

from stocktake.cluster.api import (
    INFERENCE_SERVICE,
    Cluster,
    ClusterError,
    Conflict,
    Kind,
)
from stocktake.cluster.connection import connect
from stocktake.cluster.rights import TO_DEPLOY, Right, may, require
from tests.kube_api import DEFINITION, KubeApi

CONFIG_MAP = Kind("v1", "ConfigMap")


def config_map(data: dict[str, str], **metadata: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "colours", **metadata},
        "data": data,
    }


def service(model: dict) -> dict:
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {"name": "shelf-detector"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "stocktake"}, **model}}},
    }


def test_what_is_not_there_is_none(cluster):
    assert cluster.get(CONFIG_MAP, "colours") is None
    assert cluster.list(INFERENCE_SERVICE) == []
    assert cluster.delete(CONFIG_MAP, "colours") is False


def test_each_manager_owns_the_fields_it_gave(cluster):
    cluster.apply(config_map({"sky": "blue"}), "ours")
    cluster.apply(config_map({"grass": "green"}), "theirs")
    assert cluster.get(CONFIG_MAP, "colours")["data"] == {"sky": "blue", "grass": "green"}
    cluster.apply(config_map({"sea": "blue"}), "ours")
    assert cluster.get(CONFIG_MAP, "colours")["data"] == {"sea": "blue", "grass": "green"}
    with pytest.raises(Conflict, match="theirs"):
        cluster.apply(config_map({"grass": "red"}), "ours")
    cluster.apply(config_map({"grass": "red"}), "ours", force=True)
    assert cluster.get(CONFIG_MAP, "colours")["data"]["grass"] == "red"


def test_an_older_version_is_not_written_over(cluster):
    first = cluster.apply(config_map({"sky": "blue"}), "ours")["metadata"]["resourceVersion"]
    cluster.apply(config_map({"sky": "grey"}), "ours")
    with pytest.raises(Conflict, match="ConfigMap colours: 409"):
        cluster.apply(config_map({"sky": "red"}, resourceVersion=first), "ours")
    with pytest.raises(Conflict, match="already exists"):
        cluster.create(config_map({}))


def test_a_field_that_nobody_knows_is_refused(cluster):
    cluster.apply(service({"storageUri": "s3://models/one/"}), "ours")
    with pytest.raises(ClusterError, match="storageURI"):
        cluster.apply(service({"storageURI": "s3://models/one/"}), "ours")


def test_a_selection_by_labels(cluster):
    cluster.create(config_map({}) | {"metadata": {"name": "red", "labels": {"kind": "warm"}}})
    cluster.create(config_map({}) | {"metadata": {"name": "blue", "labels": {"kind": "cold"}}})
    assert [each["metadata"]["name"] for each in cluster.list(CONFIG_MAP, "kind=warm")] == ["red"]


def test_what_is_deleted_is_gone(cluster):
    cluster.create(config_map({}))
    assert cluster.delete(CONFIG_MAP, "colours") is True
    assert cluster.get(CONFIG_MAP, "colours") is None


def test_another_one_of_the_same_name_is_not_deleted(cluster):
    first = cluster.create(config_map({}))["metadata"]["uid"]
    cluster.delete(CONFIG_MAP, "colours")
    second = cluster.create(config_map({}))["metadata"]["uid"]
    assert cluster.delete(CONFIG_MAP, "colours", first) is False
    assert cluster.get(CONFIG_MAP, "colours")["metadata"]["uid"] == second
    assert cluster.delete(CONFIG_MAP, "colours", second) is True
    assert cluster.get(CONFIG_MAP, "colours") is None


def test_a_namespace_that_is_not_there(cluster):
    with pytest.raises(ClusterError, match='namespaces "nowhere" not found'):
        Cluster(cluster._client, "nowhere").create(config_map({}))


def test_kinds_and_rights(cluster, kube_api):
    assert cluster.serves(INFERENCE_SERVICE)
    assert not cluster.serves(Kind("serving.kserve.io/v1alpha9", "InferenceService"))
    with pytest.raises(ClusterError, match="pipelines doctor"):
        cluster.get(Kind("example.org/v1", "Dream"), "mine")
    assert cluster.get(DEFINITION, "inferenceservices.serving.kserve.io")
    nobody = kube_api.connect(cluster.namespace, "nobody")
    assert may(cluster, Right("patch", "serving.kserve.io", "inferenceservices/status"))
    assert not may(nobody, Right("get", "", "pods/log"))
    with pytest.raises(ClusterError, match=r"may not get inferenceservices.*, list pods, .*; bind a Role"):
        require(nobody, TO_DEPLOY)
    with pytest.raises(ClusterError, match=r"403 .* cannot get"):
        nobody.get(INFERENCE_SERVICE, "shelf-detector")


def test_the_namespace_is_that_of_the_context(cluster):
    assert connect().namespace == cluster.namespace
    assert connect("kube-system").namespace == "kube-system"


def test_no_configuration_and_no_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="no cluster is configured"):
        connect()
    gone = KubeApi(tmp_path)  # not started
    monkeypatch.setenv("KUBECONFIG", str(gone.kubeconfig()))
    with pytest.raises(ClusterError, match="does not answer"):
        connect()
