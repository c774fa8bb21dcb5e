"""The Job that is one trial of a Katib experiment: `stocktake bins train` in the training image."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stocktake.bins.train_settings import SCRATCH as SCRATCH_WEIGHTS
from stocktake.cluster.namespace import SCRATCH, SHARED_CACHE
from stocktake.cluster.training_pod import (
    DISRUPTED,
    cache_volume,
    claim_volume,
    environment,
    gpu_tolerations,
    pod_template,
    resources,
)
from stocktake.devices import gpu_devices
from stocktake.errors import SettingsError
from stocktake.tuning.search_space import SearchSpace, Value

CONTAINER = "training"
TRIAL_NAME = "trialName"  # the parameter that holds what Katib calls a trial
DATA_DIR = "/data"
HOUR_S = 3600
PLAIN = re.compile(r"[\w./:=@+,-]+")  # what a shell leaves alone


@dataclass(frozen=True, slots=True)
class TrialPod:
    """What the pod of a trial runs and gets; sizes are Kubernetes quantities."""

    image: str  # the training image, with a version tag or a digest
    data: str = f"{DATA_DIR}/index.parquet"  # a prepared index, as the pod sees it
    claim: str = ""  # PersistentVolumeClaim that is mounted at /data, read-only; '' = none
    cache_claim: str = ""  # PersistentVolumeClaim for fetched photos that all trials share; '' = none
    gpus: int = 1
    gpu_type: str = "nvidia.com/gpu"
    cpu: str = "8"  # requested, not limited, so that idle cores are used
    memory: str = "32Gi"
    shared_memory: str = "8Gi"  # of /dev/shm; counts towards `memory`
    hours: int = 24  # after which a trial is ended
    parent_run: str = ""  # run of MLflow that those of the trials are put below


def trial_job(space: SearchSpace, pod: TrialPod) -> dict[str, Any]:
    """The Job of a trial; Katib names it and puts the parameters in."""
    disrupted = {"action": "Ignore", "onPodConditions": [DISRUPTED]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": 0,  # a failed training fails again; one whose node went away is started again
            "podFailurePolicy": {"rules": [disrupted]},
            "activeDeadlineSeconds": pod.hours * HOUR_S,
            "ttlSecondsAfterFinished": 7 * 24 * HOUR_S,
            "template": _template(space, pod),
        },
    }


def _template(space: SearchSpace, pod: TrialPod) -> dict[str, Any]:
    volumes = [claim_volume("data", pod.claim, DATA_DIR, read_only=True)] if pod.claim else []
    if pod.cache_claim:
        volumes.append(cache_volume(pod.cache_claim))
    container = {
        "name": CONTAINER,
        "image": pod.image,
        # both, or Katib would ask the registry for the image's entry point
        "command": ["stocktake", "bins", "train"],
        "args": list(_arguments(space, pod)),
        "env": _environment(pod),
        "resources": resources(pod.cpu, pod.memory, pod.gpu_type, pod.gpus),
    }
    more = {"tolerations": gpu_tolerations(pod.gpu_type)} if pod.gpus else {}
    return pod_template(container, pod.shared_memory, volumes, **more)


def _arguments(space: SearchSpace, pod: TrialPod) -> Iterator[str]:
    """The flags of `stocktake bins train`; those that are searched hold Katib's placeholders."""
    yield "--no-score"  # test photos are for the refit alone
    yield from ("--data", plain("data", pod.data), "--project", f"{SCRATCH}/work")
    yield from ("--name", _placeholder(TRIAL_NAME))
    device = gpu_devices(pod.gpus)
    if device:
        yield from ("--device", device)
    for name in space.parameters:
        yield from (_flag(name), _placeholder(name))
    for name, value in space.fixed.items():
        if name == "weights" and value in SCRATCH_WEIGHTS:
            value = "none"  # '' is one of its names, too
        if value is True:
            yield _flag(name)
        elif value is not False and value != "":  # both are what the verb does without the flag
            yield from (_flag(name), plain(f"fixed.{name}", value))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _placeholder(name: str) -> str:
    return f"${{trialParameters.{name}}}"


def plain(field: str, value: Value) -> str:
    """The value as a word of a command.

    Raises:
        SettingsError: a shell would make something else of it, and Katib runs trials in one, without quotes.
    """
    text = str(value)
    if not PLAIN.fullmatch(text):
        raise SettingsError(
            f"{field}: {text!r} would be changed by the shell that Katib runs trials in; use letters, digits"
            " and ./:=@+,-"
        )
    return text


def _environment(pod: TrialPod) -> list[dict[str, Any]]:
    found = environment(SHARED_CACHE) if pod.cache_claim else environment()
    if pod.parent_run:
        found.append({"name": "MLFLOW_PARENT_RUN_ID", "value": pod.parent_run})
    return found
