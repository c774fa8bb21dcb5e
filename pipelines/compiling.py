"""Compiles pipelines: YAML for the Kubeflow UI, and manifests for `kubectl apply`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.dsl.base_component import BaseComponent

from components.image import TRAIN_IMAGE
from pipelines.cluster import HOUR_S
from stocktake.cluster.images import check_image
from stocktake.cluster.namespace import SHARED_CACHE
from stocktake.code_version import code_version
from stocktake.errors import SettingsError
from stocktake.files import explain_os_error
from stocktake.setting_checks import expect_choice, expect_whole


@dataclass(frozen=True, slots=True)
class Limits:
    """What Kubeflow takes no parameters for, so that it is set when a pipeline is compiled."""

    retries: int | None = None  # of each step; as written in the pipeline when None
    hours: Mapping[str, int] = field(default_factory=dict)  # step -> after which its pod is ended
    # PersistentVolumeClaim for fetched photos, of all steps and of the pods that they start; '' = none
    cache_claim: str = ""

    def __post_init__(self) -> None:
        if self.retries is not None:
            expect_whole("retries", self.retries, 0, 100)
        for step, hours in self.hours.items():
            expect_whole(f"hours of {step}", hours, 1, 24 * 365)


def compile_all(
    pipelines: Iterable[BaseComponent], out_dir: Path, limits: Limits | None = None
) -> list[Path]:
    """Write `<name>.yaml` and `kubernetes/<name>.yaml` for each pipeline; return the paths.

    The former is what the Kubeflow UI takes; the latter holds a Pipeline and a PipelineVersion for API
    servers that keep pipelines as Kubernetes objects.

    Raises:
        SettingsError: the image has a tag that moves, a limit is of a step that no pipeline has, or
            `out_dir` cannot be written.
    """
    check_image(TRAIN_IMAGE)
    pipelines, written = list(pipelines), []
    check_steps(pipelines, limits)
    try:
        (out_dir / "kubernetes").mkdir(parents=True, exist_ok=True)
        for pipeline in pipelines:
            written += [
                compile_one(pipeline, out_dir / f"{pipeline.name}.yaml", limits),
                compile_manifest(pipeline, out_dir / "kubernetes" / f"{pipeline.name}.yaml", limits),
            ]
    except OSError as error:
        raise SettingsError(explain_os_error(error, out_dir)) from error
    return written


def compile_one(pipeline: BaseComponent, path: Path, limits: Limits | None = None) -> Path:
    """Write the pipeline as KFP's YAML, with this library's `code_version` as that parameter's default."""
    Compiler().compile(pipeline, str(path), pipeline_parameters=_code_version(pipeline))
    if limits:
        spec, platform = yaml.load_all(path.read_text(), yaml.CSafeLoader)
        _limit(spec, platform, limits)
        _dump(path, [spec, platform])
    return path


def compile_manifest(pipeline: BaseComponent, path: Path, limits: Limits | None = None) -> Path:
    """Write the pipeline as a Pipeline and a PipelineVersion.

    The latter is named after all that is in it, since an API server refuses to change what a version says.
    """
    Compiler().compile(
        pipeline,
        str(path),
        pipeline_parameters=_code_version(pipeline),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=KubernetesManifestOptions(
            pipeline_name=pipeline.name,
            pipeline_version_display_name=code_version(),
            include_pipeline_manifest=True,
        ),
    )
    made, version = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    if limits:
        _limit(version["spec"]["pipelineSpec"], version["spec"]["platformSpec"], limits)
    name = content_name(json.dumps(version["spec"], sort_keys=True))
    version["metadata"]["name"] = f"{pipeline.name}-{name}"
    _dump(path, [made, version])
    return path


def content_name(compiled: str) -> str:
    """Digits that something else that was compiled does not have."""
    return hashlib.sha256(compiled.encode()).hexdigest()[:8]


def check_steps(pipelines: Iterable[BaseComponent], limits: Limits | None) -> None:
    """Raise SettingsError where a limit is of a step that none of the pipelines has."""
    known = sorted({name for pipeline in pipelines for name in step_names(pipeline)})
    for step in limits.hours if limits else ():
        expect_choice("the step of --hours", step, known)


def step_names(pipeline: BaseComponent) -> frozenset[str]:
    """The names of a pipeline's tasks, those in its loops too, without the loops themselves."""
    spec = pipeline.pipeline_spec
    dags = [spec.root.dag, *(component.dag for component in spec.components.values())]
    tasks = {name: task for dag in dags for name, task in dag.tasks.items()}
    inner = {name for name, component in spec.components.items() if component.HasField("dag")}
    return frozenset(name for name, task in tasks.items() if task.component_ref.name not in inner)


def _limit(spec: dict[str, Any], platform: dict[str, Any], limits: Limits) -> None:
    dags = [part["dag"] for part in [spec["root"], *spec["components"].values()] if "dag" in part]
    tasks = {name: task for dag in dags for name, task in dag["tasks"].items() if "retryPolicy" in task}
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, task in tasks.items():
        executor = f"exec-{task['componentRef']['name'].removeprefix('comp-')}"
        kubernetes = executors[executor]
        if limits.retries is not None:
            task["retryPolicy"]["maxRetryCount"] = limits.retries
        if name in limits.hours:
            kubernetes["activeDeadlineSeconds"] = str(limits.hours[name] * HOUR_S)
        if limits.cache_claim:
            claim = {"runtimeValue": {"constant": limits.cache_claim}}
            kubernetes["pvcMount"] = [{"pvcNameParameter": claim, "mountPath": SHARED_CACHE}]
            shared = {"STOCKTAKE_CACHE": SHARED_CACHE, "STOCKTAKE_CACHE_CLAIM": limits.cache_claim}
            container = spec["deploymentSpec"]["executors"][executor]["container"]
            others = [entry for entry in container["env"] if entry["name"] not in shared]
            container["env"] = [*others, *({"name": name, "value": value} for name, value in shared.items())]


def _dump(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=True))


def _code_version(pipeline: BaseComponent) -> dict[str, str]:
    declared = pipeline.component_spec.inputs or {}
    return {"code_version": code_version()} if "code_version" in declared else {}
