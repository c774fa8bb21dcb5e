"""The InferenceService in which a candidate is rehearsed on CPU."""

from stocktake.cluster.rehearsal import is_rehearsal, rehearsal_service
from stocktake.cluster.rollout import Served

CANDIDATE = Served(f"s3://models/shelf-detector/{'b' * 64}/", "models:/shelf-detector/2")


def rehearsed(**model) -> dict:
    """The model of the rehearsal of a service with these fields."""
    own = {"modelFormat": {"name": "stocktake"}, "runtime": "stocktake-gpu", **model}
    about = {"name": "shelf-detector", "uid": "1", "labels": {"app.kubernetes.io/managed-by": "kustomize"}}
    live = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": about,
        "spec": {"predictor": {"minReplicas": 2, "nodeSelector": {"gpu": "true"}, "model": own}},
    }
    made = rehearsal_service(live, CANDIDATE)
    assert (is_rehearsal(made), is_rehearsal(live)) == (True, False)
    assert made["spec"]["predictor"].keys() == {"minReplicas", "maxReplicas", "model"}
    return made["spec"]["predictor"]["model"]


def test_cpu_and_memory_are_those_of_the_service():
    resources = {"requests": {"cpu": "250m", "memory": "768Mi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
    model = rehearsed(runtime="stocktake-cpu", resources=resources)
    assert (model["runtime"], model["storageUri"]) == ("stocktake-cpu", CANDIDATE.uri)
    assert model["resources"] == resources


def test_neither_a_gpu_nor_the_cores_beside_it_are_asked_for():
    gpu = {"nvidia.com/gpu": "1"}
    resources = {
        "requests": {"cpu": "6", "memory": "4Gi", **gpu},
        "limits": {"cpu": "8", "memory": "8Gi", **gpu},
    }
    assert rehearsed(resources=resources)["resources"] == {
        "requests": {"cpu": "1", "memory": "4Gi"},
        "limits": {"cpu": "8", "memory": "8Gi"},
    }
