"""`python -m pipelines`: list, compile, run on this machine, or submit to Kubeflow."""

import argparse
import contextlib
import logging
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import doctor_verb
from pipelines.catalogue import PIPELINES, Pipeline, find
from pipelines.parameters import read_file, split_assignments
from stocktake.errors import StocktakeError
from stocktake.program import run_program

RUN_EXAMPLE = """\
examples:
  python -m pipelines run shelf_detector --params pipelines/params/smoke.yaml --param source=photos
  python -m pipelines run shelf_detector --param source=SKU110K_fixed --param epochs=10 --out runs/ten

The folder of --out gets the model dir, report.html, card.md, metrics.json, run.json, a log per task in logs/,
and in steps/ everything that each task wrote. The same command run again keeps the steps whose inputs are
unchanged, and a training that was stopped continues. Store, cache and MLflow's database are in runs/ unless
STOCKTAKE_STORE, STOCKTAKE_CACHE and MLFLOW_TRACKING_URI say otherwise."""
SUBMIT_EXAMPLE = """\
example:
  kubectl -n kubeflow port-forward svc/ml-pipeline 8888 &
  python -m pipelines submit shelf_detector --host http://localhost:8888 --param source=s3://photos/sku110k

Steps run in the image of STOCKTAKE_TRAIN_IMAGE; name it by digest. A token for an installation with a login
is taken from KF_PIPELINES_TOKEN."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each verb sets `verb`, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines",
        description="One definition of each pipeline, for this machine and for Kubeflow.",
        epilog="`python -m pipelines list` shows the pipelines and their parameters.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="show the pipelines, their parameters and defaults")
    listing.set_defaults(verb=list_pipelines)

    compiling = verbs.add_parser(
        "compile",
        help="write YAML for the Kubeflow UI and manifests for kubectl",
        description="Write one YAML per pipeline into DIR, for the Kubeflow UI, and into DIR/kubernetes "
        "Pipeline and PipelineVersion objects for `kubectl apply -f`. Steps run in the image of "
        "STOCKTAKE_TRAIN_IMAGE.",
    )
    compiling.add_argument(
        "--out", type=Path, default=Path("runs/compiled"), metavar="DIR", help="default %(default)s"
    )
    compiling.set_defaults(verb=compile_pipelines)

    running = _add_verb(verbs, "run", "run a pipeline on this machine", RUN_EXAMPLE)
    running.add_argument("--out", type=Path, metavar="DIR", help="folder of the run; default runs/NAME")
    running.set_defaults(verb=run)

    submitting = _add_verb(verbs, "submit", "upload a pipeline to Kubeflow and run it once", SUBMIT_EXAMPLE)
    submitting.add_argument(
        "--host",
        default=os.environ.get("KF_PIPELINES_ENDPOINT"),
        help="address of the Kubeflow Pipelines API; KF_PIPELINES_ENDPOINT if not given",
    )
    submitting.add_argument("--experiment", default="stocktake", help="default %(default)s")
    submitting.add_argument("--namespace", help="of a multi-user installation")
    submitting.set_defaults(verb=submit)
    doctor_verb.add_to(verbs)
    return parser


def list_pipelines(_options: argparse.Namespace) -> None:
    """Print every pipeline with its parameters."""
    for pipeline in PIPELINES.values():
        print(f"{pipeline.name}: {pipeline.definition.description}")
        for parameter in pipeline.parameters.values():
            default = "required" if parameter.required else f"default {parameter.default!r}"
            head = f"  {parameter.name} ({default})"
            print(textwrap.fill(f"{head:<36} {parameter.description}", 110, subsequent_indent=" " * 37))


def compile_pipelines(options: argparse.Namespace) -> None:
    """Compile all pipelines; print what was written."""
    from pipelines.compiling import compile_all

    for path in compile_all([pipeline.definition for pipeline in PIPELINES.values()], options.out):
        print(path)


def run(options: argparse.Namespace) -> None:
    """Run one pipeline here; print where its outputs are."""
    from pipelines.local_runner import run_locally

    pipeline, arguments = _asked_for(options, here=True)
    result = run_locally(pipeline.definition, arguments, options.out or Path("runs") / pipeline.name)
    print(f"{pipeline.name} finished in {result.seconds:.0f} s")
    for name, value in {**result.artifacts, **result.values}.items():
        print(f"  {name}: {_relative(value)}")


def submit(options: argparse.Namespace) -> None:
    """Upload one pipeline and start it; print the link of the run."""
    from pipelines.submission import Target
    from pipelines.submission import submit as start

    pipeline, arguments = _asked_for(options, here=False)
    if not options.host:
        raise StocktakeError("--host is missing: give the address of the Kubeflow Pipelines API")
    token = os.environ.get("KF_PIPELINES_TOKEN")
    target = Target(options.host, options.experiment, options.namespace, token)
    submission = start(pipeline.definition, arguments, target)
    print(f"version {submission.version} uploaded and started: {submission.link}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status: 0 done, 1 an error that the user can fix, 130 stopped."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    hint = "the same command continues where it was"
    return run_program("pipelines", lambda: options.verb(options), hint)


def _add_verb(verbs: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(PIPELINES)}")
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="YAML file of parameters, as in pipelines/params"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one parameter; wins over FILE; repeatable",
    )
    return parser


def _asked_for(options: argparse.Namespace, here: bool) -> tuple[Pipeline, dict[str, Any]]:
    pipeline = find(options.name)
    values = read_file(options.params) if options.params else {}
    return pipeline, pipeline.arguments(values, split_assignments(options.param), here)


def _relative(value: Any) -> Any:
    if isinstance(value, Path):
        with contextlib.suppress(ValueError):
            return value.relative_to(Path.cwd())
    return value


if __name__ == "__main__":
    sys.exit(main())
