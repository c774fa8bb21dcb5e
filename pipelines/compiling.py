"""Compiles pipelines: YAML for the Kubeflow UI, and manifests for `kubectl apply`."""

from collections.abc import Iterable
from pathlib import Path

from kfp.compiler import Compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions
from kfp.dsl.base_component import BaseComponent

from components.image import TRAIN_IMAGE
from stocktake.cluster.images import check_image
from stocktake.code_version import code_version
from stocktake.errors import SettingsError
from stocktake.files import explain_os_error


def compile_all(pipelines: Iterable[BaseComponent], out_dir: Path) -> list[Path]:
    """Write `<name>.yaml` and `kubernetes/<name>.yaml` for each pipeline; return the paths.

    The former is what the Kubeflow UI takes; the latter holds a Pipeline and a PipelineVersion for API
    servers that keep pipelines as Kubernetes objects.

    Raises:
        SettingsError: the image has a tag that moves, or `out_dir` cannot be written.
    """
    check_image(TRAIN_IMAGE)
    written = []
    try:
        (out_dir / "kubernetes").mkdir(parents=True, exist_ok=True)
        for pipeline in pipelines:
            written += [
                compile_one(pipeline, out_dir / f"{pipeline.name}.yaml"),
                compile_manifest(pipeline, out_dir / "kubernetes" / f"{pipeline.name}.yaml"),
            ]
    except OSError as error:
        raise SettingsError(explain_os_error(error, out_dir)) from error
    return written


def compile_one(pipeline: BaseComponent, path: Path) -> Path:
    """Write the pipeline as KFP's YAML, with this library's `code_version` as that parameter's default."""
    Compiler().compile(pipeline, str(path), pipeline_parameters=_code_version(pipeline))
    return path


def compile_manifest(pipeline: BaseComponent, path: Path) -> Path:
    """Write the pipeline as a Pipeline and a PipelineVersion, the latter named after the code's version."""
    Compiler().compile(
        pipeline,
        str(path),
        pipeline_parameters=_code_version(pipeline),
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=KubernetesManifestOptions(
            pipeline_name=pipeline.name,
            pipeline_version_name=f"{pipeline.name}-{code_version()}",
            pipeline_version_display_name=code_version(),
            include_pipeline_manifest=True,
        ),
    )
    return path


def _code_version(pipeline: BaseComponent) -> dict[str, str]:
    declared = pipeline.component_spec.inputs or {}
    return {"code_version": code_version()} if "code_version" in declared else {}
