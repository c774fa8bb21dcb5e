"""What a step asks of a cluster; a run on this machine ignores all of it."""

from collections.abc import Iterable

from kfp import kubernetes
from kfp.dsl import PipelineTask, pipeline_channel

from components.image import TRAIN_IMAGE
from stocktake.cluster.namespace import (
    CHECKPOINT_MINUTES,
    ENDPOINTS,
    OPTIONAL_ENDPOINTS,
    REQUIRED_ENDPOINTS,
    S3_CREDENTIALS,
    S3_KEYS,
    SCRATCH,
)

HOUR_S = 3600


Text = str | pipeline_channel.PipelineParameterChannel  # Kubeflow's driver takes no numbers for resources


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
    task.set_env_variable("STOCKTAKE_CACHE", f"{SCRATCH}/cache")
    task.set_env_variable("STOCKTAKE_WORK_DIR", f"{SCRATCH}/work")
    task.set_env_variable("STOCKTAKE_CHECKPOINT_MINUTES", str(CHECKPOINT_MINUTES))
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=SCRATCH)
    kubernetes.set_timeout(task, seconds=hours * HOUR_S)
    from_config_map(task, REQUIRED_ENDPOINTS, optional=False)
    from_config_map(task, OPTIONAL_ENDPOINTS, optional=True)
    kubernetes.use_secret_as_env(
        task,
        secret_name=S3_CREDENTIALS,
        secret_key_to_env={name: name for name in S3_KEYS},
        optional=True,
    )
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


def from_config_map(task: PipelineTask, names: Iterable[str], optional: bool) -> None:
    """Give a step variables from the ConfigMap `endpoints`, under the names of its keys."""
    kubernetes.use_config_map_as_env(
        task,
        config_map_name=ENDPOINTS,
        config_map_key_to_env={name: name for name in names},
        optional=optional,
    )
