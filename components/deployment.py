"""The step after promotion: what is champion is served."""

from typing import NamedTuple

from kfp import dsl

from components.image import train_component


@train_component
def deploy_model(
    index: dsl.Input[dsl.Dataset],
    model_name: str,
    options: dict,
) -> NamedTuple("Deployed", [("outcome", str), ("reason", str)]):  # type: ignore[valid-type]
    """Bring the champion into its InferenceService; take it back where it fails.

    Args:
        index: What the preparation made; some of its test photos are the smoke test.
        model_name: Registered model, and so the InferenceService.
        options: How the candidate is tried, where not as usual: canary, watch_s, max_error_rate, max_p99_s,
            in_place, hold, ready_s.

    Returns:
        What was done (deployed, held, unchanged, rolled back), and why.
    """
    from os import environ
    from pathlib import Path

    from stocktake.cluster.connection import connect
    from stocktake.cluster.deploy import DeploySettings, deploy
    from stocktake.cluster.namespace import PREDICTOR_TOKEN, SERVING_NAMESPACE
    from stocktake.registry import champion

    settings = DeploySettings.of(options, Path(index.path), environ.get(PREDICTOR_TOKEN))
    cluster = connect(environ.get(SERVING_NAMESPACE) or None)
    report = deploy(cluster, champion(model_name), settings, print)
    return (report.outcome, report.reason)
