"""A walk on a real cluster: `pytest -m cluster`, with KUBECONFIG at one that has KServe.

The namespace STOCKTAKE_TEST_NAMESPACE has the objects of an overlay, MLFLOW_TRACKING_URI and S3_ENDPOINT_URL
are those that its pods use, and the registry has two versions of STOCKTAKE_TEST_MODEL (shelf-detector). It
runs where pods can be reached: in a pod, or on a node.
"""

import os

import pytest

from stocktake.cluster.api import INFERENCE_SERVICE
from stocktake.cluster.connection import connect
from stocktake.cluster.deploy import DeploySettings, deploy, promote, roll_back
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.cluster.workload import addresses
from stocktake.model_versions import version_numbers
from stocktake.registry import resolve

pytestmark = pytest.mark.cluster
NAME = os.environ.get("STOCKTAKE_TEST_MODEL", "shelf-detector")


@pytest.fixture(scope="module")
def real():
    cluster = connect(os.environ["STOCKTAKE_TEST_NAMESPACE"])
    assert cluster.get(INFERENCE_SERVICE, NAME), "apply an overlay first"
    return cluster


@pytest.fixture(scope="module")
def versions():
    resolve(f"models:/{NAME}@champion")  # says where there is no registry
    numbers = version_numbers(NAME)
    assert len(numbers) >= 2
    return [resolve(f"models:/{NAME}/{number}") for number in numbers[-2:]]


def served(cluster) -> set[str]:
    """The digests that the pods of the service say they serve."""
    pods = addresses(cluster, f"serving.kserve.io/inferenceservice={NAME}")
    return {PredictorClient(url, NAME).metadata()["versions"][0] for url in pods}


def test_apply_predict_canary_roll_back(real, versions):
    first, second = versions
    assert deploy(real, first, DeploySettings(watch_s=0), print).outcome in ("deployed", "unchanged")
    assert served(real) == {first.digest[:12]}
    report = deploy(real, second, DeploySettings(watch_s=30, hold=True), print)
    if report.outcome == "held":
        assert served(real) == {first.digest[:12], second.digest[:12]}
        assert roll_back(real, NAME, log=print).outcome == "rolled back"
        assert first.digest[:12] in served(real)
        deploy(real, second, DeploySettings(watch_s=0, hold=True), print)
        assert promote(real, NAME, log=print).outcome == "deployed"
    assert second.digest[:12] in served(real)
    assert roll_back(real, NAME, log=print).outcome == "rolled back"
    assert first.digest[:12] in served(real)
