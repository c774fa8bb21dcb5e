"""The flags of a training that say how it is watched."""

import argparse
from typing import get_args

from stocktake.errors import SettingsError
from stocktake.monitoring.monitor_settings import RULES, MonitorSettings, Preset


def add_rule_flags(parser: argparse.ArgumentParser) -> None:
    """Add --rules and --stop-on."""
    parser.add_argument(
        "--rules",
        default="ours",
        choices=(*get_args(Preset), "none"),
        help="watch the training with our parameters, with those of SageMaker Debugger, or not at all",
    )
    parser.add_argument(
        "--stop-on",
        default="",
        metavar="RULE,…",
        help=f"end the training when one of these rules finds an issue: {', '.join(RULES)}",
    )


def read_rules(options: argparse.Namespace) -> MonitorSettings | None:
    """What `add_rule_flags` was given; None = do not watch.

    Raises:
        SettingsError: --stop-on names something that is no rule, or nothing watches that could stop the run.
    """
    if options.rules == "none":
        if options.stop_on.strip(", "):
            raise SettingsError(
                f"stop_on names {options.stop_on}, but rules is 'none'; leave one of them out"
            )
        return None
    return MonitorSettings.parse(options.rules, options.stop_on)
