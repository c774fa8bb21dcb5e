"""The last step of all pipelines, where it is asked for."""

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components.deployment import deploy_model
from pipelines.cluster import give_variables, place
from stocktake.cluster.lease import LEASE_S
from stocktake.cluster.namespace import PREDICTOR_SECRET, PREDICTOR_TOKEN, SERVING_NAMESPACE
from stocktake.cluster.training_pod import from_endpoints, from_secret


def deploy_if(
    wanted: Any, options: Any, prepared: PipelineTask, promoted: PipelineTask, model_name: Any
) -> None:
    """Serve the champion once promotion has decided which one that is, where that is `wanted`."""
    with dsl.If(wanted == True, name="deploy"):  # noqa: E712 - a placeholder that KFP compares
        deployed = deploy_model(index=prepared.outputs["index"], model_name=model_name, options=options)
        deployed.after(promoted)
        token = from_secret(PREDICTOR_TOKEN, PREDICTOR_SECRET, "token")
        where = from_endpoints(SERVING_NAMESPACE, optional=True)
        give_variables(place(deployed, "2", "8Gi", hours=3), [where, token])
        # A try that was killed leaves its Lease; by then it has run out.
        deployed.set_retry(num_retries=2, backoff_duration=f"{LEASE_S + 30}s")
        deployed.set_caching_options(False)  # another model may be served by now
