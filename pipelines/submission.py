"""Uploads a pipeline to Kubeflow and runs it once."""

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from kfp.dsl.base_component import BaseComponent

from components.image import TRAIN_IMAGE
from pipelines.compiling import compile_one
from stocktake.cluster.images import check_image
from stocktake.code_version import code_version
from stocktake.errors import SettingsError, StocktakeError

ANSWER_TIMEOUT_S = 15.0


class SubmitError(StocktakeError):
    """Kubeflow Pipelines cannot be reached, or refused what was asked of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Kubeflow Pipelines API and where to put things in it."""

    host: str  # http://localhost:8888
    experiment: str
    namespace: str | None = None  # of a multi-user installation
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that has been started."""

    run_id: str
    version: str
    link: str


def submit(pipeline: BaseComponent, arguments: Mapping[str, Any], target: Target) -> Submission:
    """Upload the pipeline as a new version and run it once.

    Raises:
        SettingsError: the image has a tag that moves.
        SubmitError: the API cannot be reached, or refuses.
    """
    check_image(TRAIN_IMAGE)
    _check_reachable(target)
    import kfp_server_api
    from kfp import Client

    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("ignore", FutureWarning)
            client = Client(
                host=target.host, namespace=target.namespace or "kubeflow", existing_token=target.token
            )
            version_id, version = _upload(client, pipeline, target.namespace)
            experiment = client.create_experiment(target.experiment, namespace=target.namespace)
            run = client.run_pipeline(
                experiment.experiment_id,
                f"{pipeline.name} {version}",
                params=dict(arguments),
                version_id=version_id[1],
                pipeline_id=version_id[0],
            )
    except kfp_server_api.ApiException as error:
        raise SubmitError(
            f"{target.host} answered {error.status} {error.reason}: {_short(error.body)}"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise SubmitError(f"{target.host}: the connection broke: {error}") from error
    except (AttributeError, ValueError, TypeError) as error:
        raise SubmitError(f"{target.host} does not answer as Kubeflow Pipelines does: {error}") from error
    links = re.findall(r"Run details: (\S+)", printed.getvalue())
    return Submission(run.run_id, version, links[-1] if links else target.host)


def _upload(client: Any, pipeline: BaseComponent, namespace: str | None) -> tuple[tuple[str, str], str]:
    """Upload as a version of the pipeline, which is made where it is missing; return its ids and its name."""
    version = f"{code_version()}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with tempfile.TemporaryDirectory() as folder:
        package = str(compile_one(pipeline, Path(folder) / f"{pipeline.name}.yaml"))
        pipeline_id = client.get_pipeline_id(pipeline.name)
        if pipeline_id is None:
            made = client.upload_pipeline(package, pipeline.name, pipeline.description, namespace)
            pipeline_id = made.pipeline_id
        uploaded = client.upload_pipeline_version(package, version, pipeline_id=pipeline_id)
    return (pipeline_id, uploaded.pipeline_version_id), version


def _check_reachable(target: Target) -> None:
    """Ask for the API's health once; kfp's own client tries five times and prints a traceback each time."""
    host = target.host
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"--host must look like http://localhost:8888, found {host!r}")
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    try:
        answer = urllib3.request(
            "GET",
            f"{host.rstrip('/')}/apis/v2beta1/healthz",
            headers=headers,
            timeout=ANSWER_TIMEOUT_S,
            retries=False,
            redirect=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise SubmitError(
            f"{host} cannot be reached ({error}); from outside the cluster, forward the port first: "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline 8888`, then --host http://localhost:8888"
        ) from error
    if answer.status in (302, 401, 403):
        raise SubmitError(f"{host} wants a login ({answer.status}); put a token into KF_PIPELINES_TOKEN")
    try:
        is_api = answer.status == 200 and isinstance(answer.json(), dict)
    except ValueError:
        is_api = False
    if not is_api:
        raise SubmitError(
            f"{host} does not answer as Kubeflow Pipelines does ({answer.status} to its healthz)"
        )


def _short(body: Any) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "no reason given")
    return " ".join(text.split())[:400]
