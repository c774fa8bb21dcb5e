"""Uploads a pipeline to Kubeflow, and runs it once or on a schedule."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kfp.dsl.base_component import BaseComponent

from components.image import TRAIN_IMAGE
from pipelines.compiling import Limits, check_steps, compile_one, content_name
from pipelines.kubeflow import Target, explained, open_client
from stocktake.cluster.images import check_image
from stocktake.code_version import code_version


class Version(NamedTuple):
    """A version of a pipeline that the API has."""

    pipeline_id: str
    version_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that has been started."""

    run_id: str
    version: str
    link: str


def submit(
    pipeline: BaseComponent, arguments: Mapping[str, Any], target: Target, limits: Limits | None = None
) -> Submission:
    """Upload the pipeline and run it once; a version that is there already is not uploaded again.

    Raises:
        SettingsError: the image has a tag that moves, or a limit names a step that there is not.
        SubmitError: the API cannot be reached, or refuses.
    """
    client = open_client(target)
    with explained(target):
        version = upload(client, pipeline, target.namespace, limits)
        experiment = client.create_experiment(target.experiment, namespace=target.namespace)
        run = client.run_pipeline(
            experiment.experiment_id,
            f"{pipeline.name} {version.name}",
            params=dict(arguments),
            version_id=version.version_id,
            pipeline_id=version.pipeline_id,
        )
    return Submission(run.run_id, version.name, target.link("runs", run.run_id))


def upload(
    client: Any, pipeline: BaseComponent, namespace: str | None, limits: Limits | None = None
) -> Version:
    """Upload as a version of the pipeline, which is made where it is missing.

    A version is named after the code and what was compiled of it, so the same one is uploaded once.
    """
    check_image(TRAIN_IMAGE)
    check_steps([pipeline], limits)
    with tempfile.TemporaryDirectory() as folder:
        package = compile_one(pipeline, Path(folder) / f"{pipeline.name}.yaml", limits)
        name = f"{code_version()}-{content_name(package.read_text())}"
        pipeline_id = client.get_pipeline_id(pipeline.name)
        if pipeline_id is None:
            made = client.upload_pipeline(str(package), pipeline.name, pipeline.description, namespace)
            pipeline_id = made.pipeline_id
        found = client.list_pipeline_versions(pipeline_id, filter=named(name)).pipeline_versions
        known = [each for each in found or () if each.display_name == name]
        version = (
            known[0] if known else client.upload_pipeline_version(package, name, pipeline_id=pipeline_id)
        )
    return Version(pipeline_id, version.pipeline_version_id, name)


def named(name: str) -> str:
    """The filter of the API for things of this name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})
