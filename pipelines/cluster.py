"""What a step asks of a cluster; a run on this machine ignores all of it."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from kfp import kubernetes
from kfp.dsl import PipelineTask, pipeline_channel

from components.image import TRAIN_IMAGE
from stocktake.cluster.namespace import SCRATCH
from stocktake.cluster.training_pod import environment

HOUR_S = 3600
Text: TypeAlias = str | pipeline_channel.PipelineParameterChannel  # Kubeflow's driver reads no numbers here


def place(task: PipelineTask, cpu: Text, memory: Text, hours: int) -> PipelineTask:
    """Give a step its CPU and memory, a time limit, retries, scratch space and the addresses of the services.

    Args:
        task: the step.
        cpu: Kubernetes quantity, requested and not limited, so that idle cores are used.
        memory: Kubernetes quantity, requested and limited.
        hours: after which the pod is ended.
    """
    task.set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
    give_variables(task, [*environment(), {"name": "STOCKTAKE_WORK_DIR", "value": f"{SCRATCH}/work"}])
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=SCRATCH)
    kubernetes.set_timeout(task, seconds=hours * HOUR_S)
    # Restricted pods must say that they are not root, and Kubeflow leaves it open. The image names the user.
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task


def give_gpus(
    task: PipelineTask,
    kind: Text,
    count: Text,
    node_selector: pipeline_channel.PipelineParameterChannel,
    tolerations: pipeline_channel.PipelineParameterChannel,
    shared_memory: str,
) -> PipelineTask:
    """Ask for `count` GPUs of the resource `kind`, their nodes, and a /dev/shm of `shared_memory`.

    Data loaders pass batches through /dev/shm, of which a pod has 64 MiB unless a volume in memory is mounted
    there; what lies in it counts towards the step's memory limit.
    """
    task.set_accelerator_type(kind).set_accelerator_limit(count)
    kubernetes.empty_dir_mount(
        task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=shared_memory
    )
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    kubernetes.add_toleration_json(task, tolerations)
    kubernetes.add_node_selector_json(task, node_selector)
    return task


def may_start_pods(task: PipelineTask) -> PipelineTask:
    """Tell a step which image it runs in, for the pods that it starts itself."""
    return task.set_env_variable("STOCKTAKE_TRAIN_IMAGE", TRAIN_IMAGE)


def give_variables(task: PipelineTask, variables: Iterable[Mapping[str, Any]]) -> None:
    """Give a step variables as Kubernetes writes them."""
    for each in variables:
        sources = each.get("valueFrom", {})
        if "value" in each:
            task.set_env_variable(each["name"], each["value"])
        if found := sources.get("configMapKeyRef"):
            names = {found["key"]: each["name"]}
            kubernetes.use_config_map_as_env(task, found["name"], names, optional=found["optional"])
        if found := sources.get("secretKeyRef"):
            names = {found["key"]: each["name"]}
            kubernetes.use_secret_as_env(task, found["name"], names, optional=found["optional"])
