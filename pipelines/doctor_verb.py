"""The verb doctor: checks of a cluster and of this machine."""

import argparse
import sys
from typing import Any

from stocktake.errors import StocktakeError


def add_to(verbs: Any) -> None:
    """Add the verb to a parser's subparsers."""
    parser = verbs.add_parser(
        "doctor",
        help="check a cluster and this machine",
        description="Check a cluster and this machine: a line for each thing, with what was found and how to "
        "mend it. Changes nothing. The exit status is 1 where a check fails.",
    )
    parser.add_argument("--context", help="of the kubeconfig; the current one if not given")
    parser.add_argument("--namespace", help="of stocktake; that of the context if not given")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--machine", action="store_true", help="this machine only")
    only.add_argument("--cluster", action="store_true", help="the cluster only")
    parser.add_argument(
        "--timeout", type=float, default=15, metavar="S", help="for all checks to answer; default %(default)s"
    )
    parser.set_defaults(verb=doctor)


def doctor(options: argparse.Namespace) -> None:
    """Run the checks; print a line for each.

    Raises:
        StocktakeError: a check failed.
    """
    from stocktake.doctor.checks import MACHINE, cluster_checks
    from stocktake.doctor.examination import report

    failures = 0
    if not options.cluster:
        failures += report(MACHINE, sys.stdout, options.timeout)
    if not options.machine:
        checks = cluster_checks(options.namespace, options.context)
        failures += report(checks, sys.stdout, options.timeout)
    if failures:
        raise StocktakeError(f"{failures} checks failed" if failures > 1 else "a check failed")
