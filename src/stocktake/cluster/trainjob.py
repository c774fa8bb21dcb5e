"""The TrainJob of Kubeflow Trainer for a training that lies in the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stocktake.cluster.api import Object
from stocktake.cluster.images import check_image
from stocktake.cluster.namespace import SCRATCH, SHARED_CACHE
from stocktake.cluster.training_pod import (
    DISRUPTED,
    cache_volume,
    environment,
    gpu_tolerations,
    pod_template,
    resources,
)
from stocktake.setting_checks import expect, expect_whole

API_VERSION = "trainer.kubeflow.org/v1alpha1"
RUNTIME = "stocktake-torch"  # our TrainingRuntime
NODE = "node"  # what Trainer wants the job of the nodes, and its container, to be called
PATCHES = "stocktake.dev/training"  # who patches the runtime, as Trainer wants to be told
HOUR_S = 3600
SHARED_MEMORY = "16Gi"  # of /dev/shm; counts towards the memory of a node
RESTARTS = 10  # of all nodes, after one of them has failed; nodes that were taken away do not count


@dataclass(frozen=True, slots=True)
class NodePool:
    """The machines of a training; sizes are Kubernetes quantities."""

    nodes: int = 1
    gpus: int = 1  # of each
    gpu_type: str = "nvidia.com/gpu"
    cpu: str = "8"  # requested, not limited, so that idle cores are used
    memory: str = "48Gi"
    hours: int = 72  # after which the training is ended
    cache_claim: str = ""  # PersistentVolumeClaim for fetched photos; '' = each node's own disk
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()  # besides that of `gpu_type`

    def __post_init__(self) -> None:
        expect_whole("nodes", self.nodes, 1, 1000)
        expect_whole("gpus", self.gpus, 0, 64)
        expect_whole("hours", self.hours, 1, 24 * 365)
        expect(bool(self.gpu_type.strip()), "gpu_type", self.gpu_type, "the name of a resource")


def job_name(model: str, key: str) -> str:
    """Name of the TrainJob of the training at `key` in the store: the same for the same training."""
    return f"{model}-{key.rpartition('/')[2][:12]}"


def manifests(name: str, key: str, image: str, pool: NodePool) -> list[Object]:
    """The TrainingRuntime that all our TrainJobs share, and the TrainJob.

    Args:
        name: of the TrainJob.
        key: of the training in the store.
        image: the training image, with a version tag or a digest.
        pool: the machines.

    Raises:
        SettingsError: the image may change under its name.
    """
    check_image(image)
    return [training_runtime(), train_job(name, key, image, pool)]


def train_job(name: str, key: str, image: str, pool: NodePool) -> Object:
    """The TrainJob of one training; see `manifests`."""
    trainer: dict[str, Any] = {
        "image": image,
        "command": ["python", "-m", "stocktake.node_training"],
        "args": [key],
        "numNodes": pool.nodes,
        "numProcPerNode": max(pool.gpus, 1),
        "resourcesPerNode": resources(pool.cpu, pool.memory, pool.gpu_type, pool.gpus),
    }
    tolerations = gpu_tolerations(pool.gpu_type) if pool.gpus else []
    pod: dict[str, Any] = {
        "tolerations": [*tolerations, *map(_whole, pool.tolerations)],
        "nodeSelector": dict(pool.node_selector),
    }
    if pool.cache_claim:
        volume, mount = cache_volume(pool.cache_claim)
        trainer["env"] = [{"name": "STOCKTAKE_CACHE", "value": SHARED_CACHE}]
        pod |= {"volumes": [volume], "containers": [{"name": NODE, "volumeMounts": [mount]}]}
    patch = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "stocktake"}},
        "spec": {
            "runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": RUNTIME},
            "activeDeadlineSeconds": pool.hours * HOUR_S,
            "trainer": trainer,
            "runtimePatches": [
                {
                    "manager": PATCHES,
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [patch]}}},
                }
            ],
        },
    }


def training_runtime() -> Object:
    """What Trainer's `torch-distributed` lacks: our environment, /dev/shm, rights, and restarts of all nodes.

    Ranks can't go on without one of them. So a pod that fails, or whose node goes away, is not made again
    alone: all are, once the old ones are gone, and go on from the newest checkpoint in the store.
    """
    work_dir = {"name": "STOCKTAKE_WORK_DIR", "value": f"{SCRATCH}/work"}
    container = {"name": NODE, "env": [*environment(), work_dir]}
    taken_away = {"action": "FailJob", "onPodConditions": [DISRUPTED]}
    job = {
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [taken_away]},
        "template": pod_template(container, SHARED_MEMORY),
    }
    ancestor = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    uncounted = {
        "name": "nodeTakenAway",
        "action": "RestartJobSetAndIgnoreMaxRestarts",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    jobs = {
        "failurePolicy": {
            "maxRestarts": RESTARTS,
            "restartStrategy": "BlockingRecreate",
            "rules": [uncounted],
        },
        "replicatedJobs": [{"name": NODE, "template": {"metadata": {"labels": ancestor}, "spec": job}}],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRuntime",
        "metadata": {
            "name": RUNTIME,
            "labels": {
                "app.kubernetes.io/part-of": "stocktake",
                "trainer.kubeflow.org/framework": "torch",
            },
        },
        "spec": {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": jobs}},
    }


def _whole(toleration: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds as a whole number, which they are no longer once they came through Kubeflow's parameters."""
    return {key: int(value) if isinstance(value, float) else value for key, value in toleration.items()}
