"""A walk on a real cluster: `pytest -m cluster`, with KUBECONFIG at one that has KServe.

STOCKTAKE_TEST_OVERLAY is a kustomization, which is applied; STOCKTAKE_TEST_NAMESPACE is its namespace, with
the Secrets of docs/install.md. MLFLOW_TRACKING_URI and S3_ENDPOINT_URL are those that its pods use, and the
registry has two versions of STOCKTAKE_TEST_MODEL (shelf-detector). STOCKTAKE_TEST_PHOTOS is a folder of
photos to ask about; drawn ones if not given. It runs where pods can be reached: in a pod, or on a node.
"""

import os
import subprocess
from pathlib import Path

import pytest

from stocktake.cluster.api import INFERENCE_SERVICE
from stocktake.cluster.connection import connect
from stocktake.cluster.deploy import deploy, promote, roll_back
from stocktake.cluster.deploy_settings import DeploySettings
from stocktake.cluster.namespace import PREDICTOR_TOKEN
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.cluster.smoke import check_answers, smoke_photos
from stocktake.cluster.workload import addresses
from stocktake.model_card import ModelCard
from stocktake.model_versions import version_numbers
from stocktake.registry import fetch_model, resolve
from tests.programs import need

pytestmark = pytest.mark.cluster
NAME = os.environ.get("STOCKTAKE_TEST_MODEL", "shelf-detector")
TOKEN = os.environ.get(PREDICTOR_TOKEN)
PHOTOS = Path(os.environ["STOCKTAKE_TEST_PHOTOS"]) if "STOCKTAKE_TEST_PHOTOS" in os.environ else None


@pytest.fixture(scope="module")
def real():
    overlay = os.environ["STOCKTAKE_TEST_OVERLAY"]
    subprocess.run([need("kubectl"), "apply", "--server-side", "-k", overlay], check=True)
    cluster = connect(os.environ["STOCKTAKE_TEST_NAMESPACE"])
    assert cluster.get(INFERENCE_SERVICE, NAME), "the overlay is of another namespace"
    return cluster


@pytest.fixture(scope="module")
def versions():
    resolve(f"models:/{NAME}@champion")  # says where there is no registry
    numbers = version_numbers(NAME)
    assert len(numbers) >= 2
    return [resolve(f"models:/{NAME}/{number}") for number in numbers[-2:]]


def clients(cluster) -> list[PredictorClient]:
    pods = addresses(cluster, f"serving.kserve.io/inferenceservice={NAME}")
    return [PredictorClient(url, NAME, TOKEN) for url in pods]


def served(cluster) -> set[str]:
    """The digests that the pods of the service say they serve."""
    return {client.metadata()["versions"][0] for client in clients(cluster)}


def check_predictions(cluster, version, model_dir: Path) -> None:
    """Every pod serves a version, and says of each photo what its model dir says here."""
    fetch_model(version.uri, model_dir)
    photos = smoke_photos(PHOTOS, ModelCard.read(model_dir).task)
    asked = clients(cluster)
    assert asked
    check_answers(asked, model_dir, version.digest, photos)


def test_apply_predict_canary_roll_back(real, versions, tmp_path):
    first, second = versions
    now = DeploySettings(watch_s=0, smoke=PHOTOS, token=TOKEN)
    assert deploy(real, first, now, print).outcome in ("deployed", "unchanged")
    check_predictions(real, first, tmp_path / "first")
    watched = DeploySettings(watch_s=30, hold=True, smoke=PHOTOS, token=TOKEN)
    report = deploy(real, second, watched, print)
    if report.outcome == "held":
        assert served(real) == {first.digest[:12], second.digest[:12]}
        assert roll_back(real, NAME, log=print).outcome == "rolled back"
        assert first.digest[:12] in served(real)
        deploy(real, second, DeploySettings(watch_s=0, hold=True, smoke=PHOTOS, token=TOKEN), print)
        assert promote(real, NAME, log=print).outcome == "deployed"
    assert second.digest[:12] in served(real)
    assert roll_back(real, NAME, log=print).outcome == "rolled back"
    assert first.digest[:12] in served(real)
