"""`python -m pipelines`: list, compile, run on this machine, submit to Kubeflow, deploy to KServe."""

import argparse
import contextlib
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import deployment_verbs, doctor_verb, kubeflow_verbs
from pipelines.catalogue import PIPELINES
from pipelines.verbs import add_verb, asked_for
from stocktake.program import run_program

RUN_EXAMPLE = """\
examples:
  python -m pipelines run shelf_detector --params pipelines/params/smoke.yaml --param source=photos
  python -m pipelines run shelf_detector --param source=SKU110K_fixed --param epochs=10 --out runs/ten

The folder of --out gets the model dir, report.html, card.md, metrics.json, run.json, a log per task in logs/,
and in steps/ everything that each task wrote. The same command run again keeps the steps whose inputs are
unchanged, and a training that was stopped continues. Store, cache and MLflow's database are in runs/ unless
STOCKTAKE_STORE, STOCKTAKE_CACHE and MLFLOW_TRACKING_URI say otherwise."""


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

    running = add_verb(verbs, "run", "run a pipeline on this machine", RUN_EXAMPLE)
    running.add_argument("--out", type=Path, metavar="DIR", help="folder of the run; default runs/NAME")
    running.set_defaults(verb=run)

    kubeflow_verbs.add_to(verbs)
    deployment_verbs.add_to(verbs)
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


def run(options: argparse.Namespace) -> None:
    """Run one pipeline here; print where its outputs are."""
    from pipelines.local_runner import run_locally

    pipeline, arguments = asked_for(options, here=True)
    result = run_locally(pipeline.definition, arguments, options.out or Path("runs") / pipeline.name)
    print(f"{pipeline.name} finished in {result.seconds:.0f} s")
    for name, value in {**result.artifacts, **result.values}.items():
        print(f"  {name}: {_relative(value)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status: 0 done, 1 an error that the user can fix, 130 stopped."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    hint = getattr(options, "hint", "the same command continues where it was")
    return run_program("pipelines", lambda: options.verb(options), hint)


def _relative(value: Any) -> Any:
    if isinstance(value, Path):
        with contextlib.suppress(ValueError):
            return value.relative_to(Path.cwd())
    return value


if __name__ == "__main__":
    sys.exit(main())
