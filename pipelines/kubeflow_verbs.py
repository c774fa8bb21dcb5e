"""The verbs that speak to Kubeflow Pipelines, or write what it takes."""

import argparse
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.catalogue import PIPELINES
from pipelines.parameters import split_assignments
from pipelines.verbs import add_verb, asked_for
from stocktake.errors import StocktakeError

if TYPE_CHECKING:
    from pipelines.compiling import Limits
    from pipelines.kubeflow import Target

SUBMIT_EXAMPLE = """\
example:
  kubectl -n kubeflow port-forward svc/ml-pipeline 8888 &
  python -m pipelines submit shelf_detector --host http://localhost:8888 --param source=s3://photos/sku110k

Steps run in the image of STOCKTAKE_TRAIN_IMAGE; name it by digest. A token for an installation with a login
is taken from KF_PIPELINES_TOKEN. The run is followed to its end; --detach, or Ctrl-C, leaves it alone.

With --cron '0 0 3 * * *' (seconds first) or --interval it is set to recur under the name of --schedule, in
place of what had that name; `python -m pipelines schedules` lists what is set."""


def add_to(verbs: Any) -> None:
    """Add compile, submit and schedules."""
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
    _add_limits(compiling)
    compiling.set_defaults(verb=compile_pipelines)

    text = "upload a pipeline to Kubeflow and run it, once or on a schedule"
    submitting = add_verb(verbs, "submit", text, SUBMIT_EXAMPLE)
    _add_target(submitting)
    submitting.add_argument("--detach", action="store_true", help="start the run and leave it alone")
    submitting.add_argument("--cron", default="", metavar="FIELDS", help="have it recur: six, seconds first")
    submitting.add_argument("--interval", type=int, default=0, metavar="SECONDS", help="have it recur")
    submitting.add_argument("--schedule", metavar="NAME", help="of the recurring run; default NAME")
    _add_limits(submitting)
    submitting.set_defaults(verb=submit, hint="what was started goes on")

    scheduled = verbs.add_parser("schedules", help="show the recurring runs, or remove one")
    _add_target(scheduled)
    scheduled.add_argument("--remove", metavar="NAME", help="the recurring run to remove")
    scheduled.set_defaults(verb=schedules)


def compile_pipelines(options: argparse.Namespace) -> None:
    """Compile all pipelines; print what was written."""
    from pipelines.compiling import compile_all

    definitions = [pipeline.definition for pipeline in PIPELINES.values()]
    for path in compile_all(definitions, options.out, _limits(options)):
        print(path)


def submit(options: argparse.Namespace) -> None:
    """Upload one pipeline and run it to its end, or set it to recur; print what happens and the link."""
    from pipelines.compiling import step_names
    from pipelines.following import follow
    from pipelines.schedules import Trigger, set_schedule
    from pipelines.submission import submit as start

    pipeline, arguments = asked_for(options, here=False)
    target, limits = _target(options), _limits(options)
    if options.cron or options.interval:
        trigger, name = Trigger(options.cron, options.interval), options.schedule or pipeline.definition.name
        schedule = set_schedule(pipeline.definition, arguments, target, name, trigger, limits)
        print(f"{schedule.name} is {'set' if schedule.is_new else 'unchanged'}, {trigger}: {schedule.link}")
        return
    if options.schedule:
        raise StocktakeError("--schedule names a recurring run: give --cron or --interval, too")
    submission = start(pipeline.definition, arguments, target, limits)
    print(f"version {submission.version} started: {submission.link}", flush=True)
    if not options.detach:
        say = functools.partial(print, flush=True)
        print(follow(target, submission.run_id, step_names(pipeline.definition), say))


def schedules(options: argparse.Namespace) -> None:
    """Print the recurring runs, or remove one."""
    from pipelines.schedules import list_schedules, remove_schedule

    target = _target(options)
    if options.remove:
        remove_schedule(target, options.remove)
        print(f"{options.remove} is removed")
        return
    for each in list_schedules(target):
        print(f"{each.name}: {each.trigger}{'' if each.is_enabled else ', disabled'}, {each.link}")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default=os.environ.get("KF_PIPELINES_ENDPOINT"),
        help="address of the Kubeflow Pipelines API; KF_PIPELINES_ENDPOINT if not given",
    )
    parser.add_argument("--experiment", default="stocktake", help="default %(default)s")
    parser.add_argument("--namespace", help="of a multi-user installation")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what Kubeflow takes no parameters for")
    group.add_argument("--retries", type=int, metavar="N", help="of each step; 2 if not given")
    group.add_argument(
        "--hours",
        action="append",
        default=[],
        metavar="STEP=HOURS",
        help="after which a step's pod is ended, such as train-bin-counter=24; repeatable",
    )
    group.add_argument(
        "--cache-claim",
        default="",
        metavar="NAME",
        help="PersistentVolumeClaim for fetched photos that all steps share; each has its own if not given",
    )


def _limits(options: argparse.Namespace) -> "Limits":
    from pipelines.compiling import Limits

    hours = {}
    for step, text in split_assignments(options.hours, "--hours").items():
        if not text.isdigit():
            raise StocktakeError(f"--hours {step}={text}: expected a whole number of hours")
        hours[step] = int(text)
    return Limits(options.retries, hours, options.cache_claim)


def _target(options: argparse.Namespace) -> "Target":
    from pipelines.kubeflow import Target

    if not options.host:
        raise StocktakeError("--host is missing: give the address of the Kubeflow Pipelines API")
    token = os.environ.get("KF_PIPELINES_TOKEN")
    return Target(options.host, options.experiment, options.namespace, token)
