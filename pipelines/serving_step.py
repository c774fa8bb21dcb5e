"""The last step of the pipelines whose model is served."""

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components.deployment import deploy_model
from pipelines.cluster import place


def deploy_if(wanted: Any, prepared: PipelineTask, promoted: PipelineTask, model_name: Any) -> None:
    """Serve the champion once promotion has decided which one that is, where that is `wanted`."""
    with dsl.If(wanted == True, name="deploy"):  # noqa: E712 - a placeholder that KFP compares
        deployed = deploy_model(index=prepared.outputs["index"], model_name=model_name).after(promoted)
        place(deployed, "2", "8Gi", hours=3)
        deployed.set_caching_options(False)  # another model may be served by now
