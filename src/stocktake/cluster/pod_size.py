"""What a pipeline's step asks for: a lot where it works itself, little where it only follows others' work."""

from collections.abc import Mapping
from typing import NamedTuple


class PodSize(NamedTuple):
    """CPU and memory of a pod, as Kubernetes quantities."""

    cpu: str
    memory: str


BIN_TRAINING = PodSize("8", "32Gi")
SHELF_TRAINING = PodSize("8", "48Gi")
SEARCH = PodSize("8", "48Gi")
FOLLOWING = PodSize("1", "4Gi")  # a TrainJob or an Experiment


class StepSize(NamedTuple):
    """What a step asks for; all numbers are text, for Kubeflow reads no other kind of parameter there."""

    gpus: str
    cpu: str
    memory: str
    node_selector: dict[str, str]


def step_size(works: bool, own: PodSize, gpus: int, node_selector: Mapping[str, str]) -> StepSize:
    """The size of a step that works itself in a pod of size `own`, or only follows what others do."""
    size = own if works else FOLLOWING
    return StepSize(str(gpus if works else 0), *size, dict(node_selector) if works else {})
