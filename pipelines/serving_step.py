"""The last step of all pipelines, where it is asked for."""

from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl import PipelineTask

from components.deployment import deploy_model
from pipelines.cluster import from_config_map, place
from stocktake.cluster.lease import LEASE_S
from stocktake.cluster.namespace import PREDICTOR_SECRET, PREDICTOR_TOKEN, SERVING_NAMESPACE


def deploy_if(
    wanted: Any, options: Any, prepared: PipelineTask, promoted: PipelineTask, model_name: Any
) -> None:
    """Serve the champion once promotion has decided which one that is, where that is `wanted`."""
    with dsl.If(wanted == True, name="deploy"):  # noqa: E712 - a placeholder that KFP compares
        deployed = deploy_model(index=prepared.outputs["index"], model_name=model_name, options=options)
        deployed.after(promoted)
        from_config_map(place(deployed, "2", "8Gi", hours=3), (SERVING_NAMESPACE,), optional=True)
        kubernetes.use_secret_as_env(deployed, PREDICTOR_SECRET, {"token": PREDICTOR_TOKEN}, optional=True)
        # A try that was killed leaves its Lease; by then it has run out.
        deployed.set_retry(num_retries=2, backoff_duration=f"{LEASE_S + 30}s")
        deployed.set_caching_options(False)  # another model may be served by now
