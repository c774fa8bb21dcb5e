"""The verbs deploy, promote and rollback: which model of the registry an InferenceService serves."""

import argparse
import os
from pathlib import Path
from typing import Any

from pipelines.verbs import new_verb
from stocktake.cluster.deploy_settings import DeploySettings
from stocktake.cluster.namespace import PREDICTOR_TOKEN
from stocktake.errors import StocktakeError

USUAL = DeploySettings()
DEPLOY_EXAMPLE = """\
examples:
  python -m pipelines deploy shelf-detector --namespace stocktake --smoke photos
  python -m pipelines deploy bin-counter --version 7 --canary 25 --hold

The champion's model dir is checked and brought in beside what serves. It has to say of the photos what it
says offline, then it gets a share of the requests and is watched; after that it takes over, or goes away. The
same command run again goes on from what it finds. MLFLOW_TRACKING_URI says where the registry is,
S3_ENDPOINT_URL where the store is; KUBECONFIG or the pod's account says which cluster.
STOCKTAKE_PREDICTOR_TOKEN is the token that the predictors ask for, where they do."""


def add_to(verbs: Any) -> None:
    """Add the verbs to a parser's subparsers."""
    deploying = _add(verbs, "deploy", "serve the champion of a registered model", DEPLOY_EXAMPLE)
    which = deploying.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="this version instead of the champion")
    which.add_argument("--alias", default="champion", help="default %(default)s")
    trying = deploying.add_argument_group("how it is tried")
    trying.add_argument(
        "--smoke", type=Path, metavar="DIR", help="photos to compare answers on; drawn ones if not given"
    )
    trying.add_argument(
        "--canary",
        type=int,
        default=USUAL.canary,
        metavar="PERCENT",
        help="its share of the requests; default %(default)s",
    )
    trying.add_argument(
        "--watch-seconds",
        type=float,
        default=USUAL.watch_s,
        metavar="S",
        help="with that share; default %(default)s",
    )
    trying.add_argument(
        "--max-error-rate",
        type=float,
        default=USUAL.max_error_rate,
        metavar="SHARE",
        help="0 to 1; default %(default)s",
    )
    trying.add_argument(
        "--max-p99",
        type=float,
        default=USUAL.max_p99_s,
        metavar="S",
        help="99 %% must be faster; default %(default)s",
    )
    trying.add_argument(
        "--in-place", action="store_true", help="exchange the model where no node has room for a canary"
    )
    trying.add_argument("--hold", action="store_true", help="leave it at its share, for promote or rollback")
    trying.add_argument(
        "--url", help="where the candidate answers over REST, such as a forwarded port; its pods if not given"
    )
    deploying.set_defaults(verb=deploy)
    promoting = _add(verbs, "promote", "let a candidate that is held take over")
    promoting.set_defaults(verb=promote)
    returning = _add(verbs, "rollback", "take a candidate away, or go back to the model before")
    returning.set_defaults(verb=roll_back)


def deploy(options: argparse.Namespace) -> None:
    """Deploy a version; print what was done.

    Raises:
        StocktakeError: the candidate was withdrawn; why.
    """
    from stocktake.cluster.deploy import deploy as start
    from stocktake.registry import resolve

    settings = DeploySettings(
        canary=options.canary, smoke=options.smoke, watch_s=options.watch_seconds, hold=options.hold,
        max_error_rate=options.max_error_rate, max_p99_s=options.max_p99, url=options.url,
        in_place=options.in_place,
        token=os.environ.get(PREDICTOR_TOKEN), ready_s=options.ready_seconds,
    )  # fmt: skip
    name = options.name.replace("_", "-")
    wanted = f"@{options.alias}" if options.version is None else f"/{options.version}"
    version = resolve(f"models:/{name}{wanted}")
    report = start(_cluster(options), version, settings, _say)
    if report.outcome == "rolled back":
        raise StocktakeError(report.sentence)
    print(report.sentence)


def promote(options: argparse.Namespace) -> None:
    """Promote a candidate; print what was done."""
    from stocktake.cluster.deploy import promote as start

    settings = DeploySettings(ready_s=options.ready_seconds)
    print(start(_cluster(options), options.name.replace("_", "-"), settings, _say).sentence)


def roll_back(options: argparse.Namespace) -> None:
    """Roll back; print what was done."""
    from stocktake.cluster.deploy import roll_back as start

    settings = DeploySettings(ready_s=options.ready_seconds)
    print(start(_cluster(options), options.name.replace("_", "-"), settings, _say).sentence)


def _add(verbs: Any, name: str, text: str, examples: str = "") -> argparse.ArgumentParser:
    parser = new_verb(verbs, name, text, examples)
    parser.add_argument("name", metavar="NAME", help="registered model, and so the InferenceService")
    parser.add_argument("--namespace", help="that of the context, or of the pod, if not given")
    parser.add_argument("--context", help="of the kubeconfig; the current one if not given")
    parser.add_argument(
        "--ready-seconds",
        type=float,
        default=USUAL.ready_s,
        metavar="S",
        help="for pods to start; default %(default)s",
    )
    return parser


def _cluster(options: argparse.Namespace) -> Any:
    from stocktake.cluster.connection import connect

    return connect(options.namespace, options.context)


def _say(step: str) -> None:
    print(step, flush=True)  # a pipe is read while it runs
